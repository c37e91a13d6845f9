"""Check the English that people read: documents, pages, help, messages, alerts and the comments of manifests.

The rules are a short list of patterns that our texts fell into, each with its replacement. A text that a rule names fails
`make check`, with its file and line. Code blocks and `code spans` are left out. Run it by hand with file names to check
those alone:

    python .ci/prose.py README.md pipelines/__main__.py
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("components", "pipelines", "serving", "monitoring", "manifests")

RULES: dict[str, str] = {
    r"\w: (of|by|for) (the|it|its|this|a|an|one|each)\b": "write a noun after the colon, or leave the entry out",
    r"(?:^|[.;!] )What [^.;:!?]+[.;:]": "name the thing instead of a sentence that begins with 'What'",
    r"[,;] what (?:is|are|was|has|comes|goes|fails|serves|remains|follows)\b": "name the thing instead of 'what is …'",
    r"\blook(?:ed|s|ing)? (?:at|whether)\b": "use check, view, inspect or monitor",
    r"(?<![Tt]here )(?<![Ii]t )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|better\b)": "write 'is not a …'",
    r"\b(?:lies|lay|lain|stands|stood)\b": "use 'is stored in', 'is in', 'builds on' or 'appears in'",
    r"\bso (?:many|much)\b(?! that)": "name the number",
    r"\b(?:anew|besides|likewise|lest|hence|seldom|meanwhile|whatever|whoever|thereof|whence)\b": "use a plainer word",
    r"\bagain and again\b|\bonce more\b": "use 'repeatedly' or 'again'",
    r"\bmend(?:s|ed|ing)?\b": "use 'fix' or 'repair'",
    r"\b(?:in force|for want of|of record|by its kind|the very|goes? on where|at the same moment)\b": "use a plainer phrase",
    r"\b(?:somebody|nobody|everybody)\b": "name the person or process: user, caller, operator",
    r"\b(?:alike|with one another|taken for)\b": "use 'similar', 'each other' or 'count as'",
    r"\b(?:is|are|was|were) (?:told|asked|given) so\b|\bwithout a word\b": "say who reports what",
}
COMPILED = [(re.compile(pattern), advice) for pattern, advice in RULES.items()]
PLACE = "‹›"  # stands for a value that an f-string fills in


@dataclass(frozen=True)
class Text:
    """A text that people read.

    Attributes:
        path: file, relative to the repository.
        line: first line, from 1.
        words: the text, with PLACE for each value.
    """

    path: str
    line: int
    words: str


def texts_of_markdown(path: str, content: str) -> Iterator[Text]:
    """Yield each paragraph, list item and table row, without code."""
    content = re.sub(r"```.*?```", lambda block: "\n" * block.group().count("\n"), content, flags=re.DOTALL)
    content = re.sub(r"`[^`\n]*`", PLACE, content)
    start, lines = 1, []
    for number, line in enumerate([*content.splitlines(), ""], start=1):
        is_new = not line.strip() or re.match(r"\s*([-*|#>]|\d+\.)", line)
        if is_new and lines:
            yield Text(path, start, " ".join(lines))
            lines = []
        if line.startswith("#"):
            yield Text(path, number, line.lstrip("# "))
        elif line.startswith("|"):
            yield from (Text(path, number, cell.strip()) for cell in line.split("|") if " " in cell.strip())
        elif line.strip():
            start = start if lines else number
            lines.append(line.strip().lstrip("-*#> "))


def texts_of_python(path: str, content: str) -> Iterator[Text]:
    """Yield the strings of a module that hold a sentence or a phrase: help, messages, printed words.

    Docstrings are for readers of the code and left out, but for those of parameters: `visual-search parameters` prints them.
    """
    tree = ast.parse(content)
    is_printed = path.endswith("/parameters.py")
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and not is_printed}
    left_out |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        words = _words(node)
        if words is not None and id(node) not in left_out and len(words.split()) > 2:
            yield Text(path, node.lineno, words)  # type: ignore[attr-defined]


def _words(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else PLACE for each in node.values)
    return None


def faults(text: Text) -> Iterator[str]:
    """Yield one line for each rule that a text breaks."""
    for pattern, advice in COMPILED:
        for found in pattern.finditer(" ".join(text.words.split())):
            context = " ".join(text.words.split())[max(0, found.start() - 40) : found.end() + 40]
            yield f"{text.path}:{text.line}: “{found.group().strip()}” in “…{context}…”: {advice}"


def texts_of_page(path: str, content: str) -> Iterator[Text]:
    """Yield the words between the tags of a page or template, without its style, scripts and instructions."""
    blanked = re.sub(
        r"<style.*?</style>|<script.*?</script>|<code.*?</code>|\{%.*?%\}|\{#.*?#\}|\{\{.*?\}\}|<[^>]*>",
        lambda part: "\n" * part.group().count("\n") + PLACE,
        content,
        flags=re.DOTALL,
    )
    for number, line in enumerate(blanked.splitlines(), start=1):
        yield from (Text(path, number, words) for words in line.split(PLACE) if " " in words.strip())


def texts_of_script(path: str, content: str) -> Iterator[Text]:
    """Yield the strings of a script that hold more than one word."""
    for number, line in enumerate(re.sub(r"/\*.*?\*/", "", content, flags=re.DOTALL).splitlines(), start=1):
        for found in re.findall(r"\"([^\"]* [^\"]*)\"|`([^`]* [^`]*)`", line.split(" // ")[0]):
            yield Text(path, number, re.sub(r"\$\{.*?\}", PLACE, "".join(found)))


def texts_of_yaml(path: str, content: str) -> Iterator[Text]:
    """Yield the comments of a file, and the sentences of alerts."""
    for number, line in enumerate(content.splitlines(), start=1):
        for found in re.findall(r"(?:^|\s)#\s+(.+)|\bsummary: \"(.+)\"", line):
            yield Text(path, number, re.sub(r"\{\{.*?\}\}|`[^`]*`", PLACE, "".join(found)))


READERS: dict[str, Callable[[str, str], Iterator[Text]]] = {
    ".md": texts_of_markdown,
    ".py": texts_of_python,
    ".html": texts_of_page,
    ".j2": texts_of_page,
    ".js": texts_of_script,
    ".yaml": texts_of_yaml,
}


def checked_files() -> list[str]:
    """List the documents, and the modules, pages and scripts of the product."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603
    return [
        name
        for name in listed
        if Path(name).suffix in READERS
        and (name.endswith(".md") or name.startswith(PACKAGES))
        and (ROOT / name).exists()
    ]


def check(names: list[str]) -> list[str]:
    """Return the faults of files, given relative to the repository."""
    return [
        fault
        for name in names
        for text in READERS[Path(name).suffix](name, (ROOT / name).read_text())
        for fault in faults(text)
    ]


if __name__ == "__main__":
    problems = check(sys.argv[1:] or checked_files())
    print("\n".join(problems))
    sys.exit(f"{len(problems)} places to reword" if problems else 0)
