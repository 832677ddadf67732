"""Several pictures on one canvas, so that a model that takes one sees them all.

The first has the first cell. What is drawn there is the result; the others are there to be looked at.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageOps
from PIL.Image import Resampling

from openhearth.engine.image.sizes import Size


def grid(count: int) -> Size:
    """Return columns and rows of the canvas for `count` pictures."""
    columns = math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def side_by_side(pictures: Sequence[Image.Image], size: Size, *, blank: str = "white") -> Image.Image:
    """Lay the pictures out on a blank canvas of this size, each whole in its cell, in the mode of the first."""
    columns, _ = grid(len(pictures))
    width, height = cell = _cell(len(pictures), size)
    canvas = Image.new(pictures[0].mode, size, blank)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        fitted = ImageOps.pad(picture, cell, Resampling.LANCZOS, color=blank) if place else picture.resize(cell)
        canvas.paste(fitted, (column * width, row * height))
    return canvas


def first_cell_of(canvas: Image.Image, count: int) -> Image.Image:
    """Return what was drawn in the first of `count` cells."""
    return canvas.crop((0, 0, *_cell(count, canvas.size)))


def _cell(count: int, size: Size) -> Size:
    columns, rows = grid(count)
    return size[0] // columns, size[1] // rows
