"""Sprites on a canvas: the picture that the network is shown before it draws its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling, Transpose

from openhearth.engine.image.retrieval.layout import Box
from openhearth.engine.image.sizes import Size


@dataclass(frozen=True, slots=True)
class Placed:
    """A sprite in RGBA and where it goes; it keeps its shape, and fills its box as far as that allows."""

    sprite: Image.Image
    box: Box
    is_mirrored: bool = False


def layers(placed: Iterable[Placed], size: Size) -> list[Image.Image]:
    """Return each sprite alone on a clear canvas of `size`."""
    return [_layer(each, size) for each in placed]


def stacked(parts: Sequence[Image.Image], size: Size) -> Image.Image:
    """Return the layers on top of each other, the last in front."""
    canvas = Image.new("RGBA", size)
    for part in parts:
        canvas.alpha_composite(part)
    return canvas


def coverage(parts: Sequence[Image.Image], grid: Size) -> NDArray[np.float32]:
    """Return how far each layer covers each cell of a grid of columns and rows: [layers, rows, columns], 0 to 1."""
    cells = [np.asarray(part.getchannel("A").resize(grid, Resampling.BOX), np.float32) / 255 for part in parts]
    return np.stack(cells) if cells else np.zeros((0, grid[1], grid[0]), np.float32)


def _layer(placed: Placed, size: Size) -> Image.Image:
    width, height = size
    left, top = placed.box.left * width, placed.box.top * height
    room = placed.box.width * width, placed.box.height * height
    scale = min(room[0] / placed.sprite.width, room[1] / placed.sprite.height)
    fitted = max(1, round(placed.sprite.width * scale)), max(1, round(placed.sprite.height * scale))
    sprite = placed.sprite.transpose(Transpose.FLIP_LEFT_RIGHT) if placed.is_mirrored else placed.sprite
    corner = round(left + (room[0] - fitted[0]) / 2), round(top + (room[1] - fitted[1]) / 2)
    layer = Image.new("RGBA", size)
    layer.paste(sprite.resize(fitted, Resampling.BICUBIC), corner)
    return layer
