# SPDX-License-Identifier: BSD-3-Clause
"""The contact sheet: all thumbnails on one image, drawn from the files that the workers made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFont

from gearfast.demo import images
from gearfast.demo.plan import SIDE, Round

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["draw"]

_GAP: Final = 22
_MARGIN: Final = 56
_CAPTION: Final = 34
_HEAD: Final = 132
_PAPER: Final = "#14161a"
_INK: Final = "#f3f1ec"
_FAINT: Final = "#8d929c"
_ACCENT: Final = "#ffb454"


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _fitted(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int
) -> str:
    """The text, shortened to `width` pixels."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _columns(count: int) -> int:
    """Columns of the grid: wider than high, and no last row with a single photo if that can be helped."""
    best = min(6, max(3, count))
    for columns in (6, 5, 4):
        if count >= columns and count % columns == 0:
            return columns
    return best


def draw(root: Path, work: Round, path: Path, title: str, subtitle: str) -> tuple[int, int]:
    """Writes the sheet as JPEG; returns its size in pixels."""
    count = len(work.photos)
    columns = _columns(count)
    rows = -(-count // columns)
    width = 2 * _MARGIN + columns * SIDE + (columns - 1) * _GAP
    height = _HEAD + rows * (SIDE + _CAPTION) + (rows - 1) * _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((_MARGIN, 40, _MARGIN + 5, 96), fill=_ACCENT)
    inner = width - 2 * _MARGIN - 22
    pen.text((_MARGIN + 22, 36), _fitted(pen, title, _font(34), inner), font=_font(34), fill=_INK)
    pen.text((_MARGIN + 22, 78), _fitted(pen, subtitle, _font(18), inner), font=_font(18), fill=_FAINT)
    small = _font(15)
    for number, photo in enumerate(work.photos):
        row, column = divmod(number, columns)
        x = _MARGIN + column * (SIDE + _GAP)
        y = _HEAD + row * (SIDE + _CAPTION + _GAP)
        sheet.paste(images.load(root / work.thumbnail(photo)), (x, y))
        label = f"{number + 1:02d}"
        pen.text((x, y + SIDE + 9), label, font=small, fill=_ACCENT)
        pen.text((x + 28, y + SIDE + 9), _fitted(pen, photo.title, small, SIDE - 28), font=small, fill=_FAINT)
    images.save(sheet, path, quality=90)
    return width, height
