"""Masks: which pixels may change, and how what was drawn is put back among those that may not.

A mask here is a picture in mode L: 255 where all may change, 0 where nothing may. Alpha, as it comes in, is its
opposite.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter
from PIL.Image import Resampling

from openhearth.engine.image.sizes import Size

Pixels = NDArray[Any]

_FEATHER_PIXELS = 3


def hole_of(picture: Image.Image) -> Image.Image:
    """Return the mask that the alpha of a picture stands for."""
    return ImageChops.invert(picture.getchannel("A"))


def widened(mask: Image.Image, size: Size, *, cell: int) -> Image.Image:
    """Return the mask at `size`, a multiple of `cell`, with every cell open that it touches.

    Models work on cells of several pixels: one that is open by a single pixel has to be open as a whole, or that pixel
    would keep its old colour.
    """
    columns, rows = size[0] // cell, size[1] // cell
    fine = mask.resize((max(mask.width, columns), max(mask.height, rows)), Resampling.NEAREST)
    cells = _highest(_highest(np.asarray(fine), rows, axis=0), columns, axis=1)
    return Image.fromarray(np.where(cells > 0, 255, 0).astype(np.uint8)).resize(size, Resampling.NEAREST)


def filled(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the picture in RGB, with colours from around it where the mask is open.

    What lies under transparency is whatever an editor left there, black more often than not; a model would see it.
    """
    keep = np.asarray(ImageChops.invert(mask), np.float32)[..., None] / 255
    colours = np.asarray(picture.convert("RGB"), np.float32)
    return Image.fromarray(_pulled(colours, keep).round().astype(np.uint8))


def pasted(original: Image.Image, drawn: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `drawn` where the mask is open and `original`, to the bit, where it is not.

    The seam is feathered inside the hole. All three have one size.
    """
    return Image.composite(drawn, original, _feathered(mask))


def _highest(values: Pixels, count: int, *, axis: int) -> Pixels:
    """Split an axis into `count` runs, and return the highest value of each."""
    starts = np.arange(count) * values.shape[axis] // count
    highest: Pixels = np.maximum.reduceat(values, starts, axis=axis)
    return highest


def _feathered(mask: Image.Image) -> Image.Image:
    """Return the mask rising from its edge inwards over a few pixels; where it was 0 it stays 0."""
    total, layer = np.asarray(mask, np.uint16), mask
    for _ in range(_FEATHER_PIXELS):
        layer = layer.filter(ImageFilter.MinFilter(3))
        total = total + np.asarray(layer, np.uint16)
    return Image.fromarray((total // (_FEATHER_PIXELS + 1)).astype(np.uint8))


def _pulled(colours: Pixels, keep: Pixels) -> Pixels:
    """Mix into every pixel, as far as it is not kept, the colour of its surroundings, seen ever coarser."""
    height, width = keep.shape[:2]
    if max(height, width) == 1 or keep.min() == 1:
        return colours
    weight = _halved(keep)
    coarse = _halved(colours * keep) / np.maximum(weight, 1e-6)
    around = _pulled(coarse, np.minimum(weight * 4, 1)).repeat(2, 0).repeat(2, 1)[:height, :width]
    mixed: Pixels = colours * keep + around * (1 - keep)
    return mixed


def _halved(values: Pixels) -> Pixels:
    """Return the means of blocks of 2x2, with zeros beyond the edges."""
    padded = np.pad(values, ((0, values.shape[0] % 2), (0, values.shape[1] % 2), (0, 0)))
    height, width, channels = padded.shape
    means: Pixels = padded.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))
    return means
