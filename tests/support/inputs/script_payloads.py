"""Words that would be scripts, if anything took them for more than words."""

from urllib.parse import quote

PLAIN_PAYLOADS = [
    payload.replace("X", "window.pwned=1;alert(1)")
    for payload in (
        "<script>X</script>",
        "</title><script>X</script>",
        "<img src=x onerror='X'>",
        "<svg onload='X'>",
        "<svg><animate onbegin='X' attributeName=x dur=1s>",
        "<iframe srcdoc='<script>parent.X</script>'></iframe>",
        "<body onload='X'>",
        "<details open ontoggle='X'>",
        "<video src=x onerror='X'></video>",
        "<math><mtext></mtext><mglyph><style><img src=x onerror='X'></style></mglyph></math>",
        '"><script>X</script>',
        "' onmouseover='X' x='",
        '" onfocus="X" autofocus="',
        "javascript:X",
        "data:text/html,<script>X</script>",
        "${X}",
        "{{constructor.constructor('X')()}}",
        "<!--><script>X</script>-->",
        "<noscript><p title=\"</noscript><img src=x onerror='X'>\">",
        "<a href='javascript:X'>click</a>",
        "<style>*{background:url('javascript:X')}</style>",
        "<link rel=stylesheet href='data:text/css,*{color:red}'>",
        "<base href='//127.0.0.2/'>",
        "<meta http-equiv=refresh content='0;url=javascript:X'>",
        "<form action='javascript:X'><button>go</button></form>",
        "<object data='data:text/html,<script>X</script>'></object>",
        "<template shadowrootmode=open><script>X</script></template>",
        "\u202e<script>X</script>",
        "\x00<script>X</script>",
        "../../v1/events",
    )
]


# As they are, and percent-encoded, for where something is decoded once too often: 60 in all.
PAYLOADS = [*PLAIN_PAYLOADS, *map(quote, PLAIN_PAYLOADS)]
