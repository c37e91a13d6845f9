"""A sheet with a query and its results, to view or to send: one HTML file, or a PNG."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from components.shared.errors import ParameterError
from components.shared.files.atomic import whole_file
from serving.client import SearchAnswer, SearchResult

_TILE, _CAPTION, _GAP, _COLUMNS = 200, 46, 16, 5
_GROUND, _INK, _FAINT, _LINE, _ACCENT = "#f6f5f2", "#1d1c1a", "#7a766f", "#e2dfd8", "#2f5d50"

_STYLE = """
:root{color-scheme:light dark}*{box-sizing:border-box}
body{margin:0;padding:2rem clamp(1rem,4vw,3rem);font:15px/1.45 system-ui,sans-serif;background:#f6f5f2;color:#1d1c1a}
header{display:flex;gap:1.5rem;align-items:center;margin-bottom:2rem}
header img{height:11rem;max-width:45vw;border-radius:12px;box-shadow:0 1px 3px #0003;object-fit:contain;background:#fff}
h1{font-size:1.35rem;margin:0 0 .3rem}header p{margin:.15rem 0;color:#7a766f;overflow-wrap:anywhere}
ol{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:1.1rem;list-style:none;margin:0;padding:0}
li{background:#fff;border:1px solid #e2dfd8;border-radius:12px;overflow:hidden}
li img{width:100%;aspect-ratio:1;object-fit:contain;display:block;background:#fff}
li div{padding:.55rem .75rem .7rem;border-top:1px solid #e2dfd8}
b{display:flex;justify-content:space-between;font-weight:600}b span{color:#2f5d50;font-variant-numeric:tabular-nums}
small{color:#7a766f;overflow-wrap:anywhere;display:block}
@media(prefers-color-scheme:dark){body{background:#191817;color:#eceae6}li,header img,li img{background:#242321}
li,li div{border-color:#3a3835}b span{color:#8fc7b5}}
"""


@dataclass(frozen=True)
class Sheet:
    """Content of a sheet.

    Attributes:
        answer: answer to the query.
        thumbnails: encoded pictures of the results, in order; None where there is none.
    """

    name: str
    query: bytes
    answer: SearchAnswer
    thumbnails: Sequence[bytes | None]


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write a sheet as the path's ending says.

    Raises:
        ParameterError: it is neither .html nor .png.
    """
    kind = path.suffix.lower()
    if kind not in {".html", ".htm", ".png"}:
        raise ParameterError(f"a result sheet is written as .html or .png, not as {path.name}")
    with whole_file(path) as temporary:
        if kind == ".png":
            draw_sheet(sheet).save(temporary, "PNG", optimize=True)
        else:
            temporary.write_text(render_sheet(sheet), encoding="utf-8")


def render_sheet(sheet: Sheet) -> str:
    """Return the sheet as one HTML file that needs no other."""
    answer = sheet.answer
    tiles = "".join(
        f"<li>{_picture(thumbnail, result.image_id)}<div><b>{result.position} <span>{result.score:.3f}</span></b>"
        f"{html.escape(_title(result))}<small>{html.escape(result.image_id)}{_others(result)}</small></div></li>"
        for result, thumbnail in zip(answer.results, sheet.thumbnails, strict=True)
    )
    verdict = "No good match." if answer.no_good_match else f"{len(answer.results)} results"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(sheet.name)} – similar images</title><style>{_STYLE}</style></head><body><header>"
        f"{_picture(_shrunk(sheet.query, 640), 'the query')}<div><h1>{html.escape(sheet.name)}</h1><p>{verdict}</p>"
        f"<p>{html.escape(answer.release_id)} · {html.escape(answer.arm)} · {html.escape(answer.query_id)}</p></div>"
        f"</header><ol>{tiles}</ol></body></html>\n"
    )


def draw_sheet(sheet: Sheet) -> Image.Image:
    """Return the sheet as a picture: the query on the left, the results in rows beside it."""
    results = sheet.answer.results
    rows = max(1, -(-len(results) // _COLUMNS))
    left = _TILE + 3 * _GAP
    size = (left + _COLUMNS * (_TILE + _GAP) + _GAP, max(1, rows) * (_TILE + _CAPTION + _GAP) + _GAP)
    canvas = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(canvas)
    strong, plain = ImageFont.load_default(15), ImageFont.load_default(12)
    _draw_tile(canvas, draw, (_GAP, _GAP), _shrunk(sheet.query, 2 * _TILE), outline=_ACCENT)
    draw.text((_GAP + 4, _GAP + _TILE + 6), "query", _ACCENT, strong)
    draw.text((_GAP + 4, _GAP + _TILE + 26), _fitting(draw, sheet.name, plain), _FAINT, plain)
    for place, (result, thumbnail) in enumerate(zip(results, sheet.thumbnails, strict=True)):
        row, column = divmod(place, _COLUMNS)
        corner = (left + column * (_TILE + _GAP), _GAP + row * (_TILE + _CAPTION + _GAP))
        _draw_tile(canvas, draw, corner, thumbnail)
        x, y = corner[0] + 4, corner[1] + _TILE + 6
        draw.text((x, y), f"{result.position}", _INK, strong)
        draw.text((corner[0] + _TILE - 4, y), f"{result.score:.3f}", _ACCENT, strong, anchor="ra")
        draw.text((x, y + 20), _fitting(draw, f"{_title(result)}{_others(result)}", plain), _FAINT, plain)
    if not results:
        draw.text((left, _GAP), "no good match", _FAINT, strong)
    return canvas


def _draw_tile(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], picture: bytes | None, outline: str = _LINE
) -> None:
    x, y = corner
    draw.rounded_rectangle((x, y, x + _TILE, y + _TILE), 10, "white", outline, 2)
    if picture is None:
        return
    with Image.open(io.BytesIO(picture)) as image:
        fitted = ImageOps.contain(image.convert("RGB"), (_TILE - 16, _TILE - 16))
    canvas.paste(fitted, (x + (_TILE - fitted.width) // 2, y + (_TILE - fitted.height) // 2))


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if draw.textlength(text, font) <= _TILE - 8:
        return text
    while text and draw.textlength(text + "…", font) > _TILE - 8:
        text = text[:-1]
    return text + "…"


def _title(result: SearchResult) -> str:
    return f"{result.category} · {result.item_id}" if result.category else result.item_id


def _others(result: SearchResult) -> str:
    return f" · and {result.grouped} more" if result.grouped else ""


def _picture(data: bytes | None, alternative: str) -> str:
    if data is None:
        return f'<img alt="{html.escape(alternative)}">'
    kind = "webp" if data[:4] == b"RIFF" else "jpeg" if data[:2] == b"\xff\xd8" else "png"
    return f'<img alt="{html.escape(alternative)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _shrunk(data: bytes, side: int) -> bytes:
    """Return the user's own picture, upright and small enough for a sheet."""
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((side, side))
    encoded = io.BytesIO()
    upright.save(encoded, "JPEG", quality=88)
    return encoded.getvalue()
