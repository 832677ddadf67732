"""Pictures for tests: noise, so that no two pixels are alike by chance, and holes where they are wanted."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def noise(width: int = 80, height: int = 80, *, seed: int = 0) -> Image.Image:
    """Return a picture of noise in RGB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def with_hole(picture: Image.Image, *, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Return the picture in RGBA, transparent inside the rectangle."""
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (left, top, right, bottom))
    holed = picture.convert("RGBA")
    holed.putalpha(alpha)
    return holed


def saved(picture: Image.Image, path: Path, **options: Any) -> Path:
    """Write a picture to a file, in the format of its suffix, and return the path."""
    picture.save(path, **options)
    return path


def encoded(picture: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file."""
    file = BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def decoded(data: bytes) -> Image.Image:
    """Return the picture in a file."""
    return Image.open(BytesIO(data))


def pixels_of(picture: Image.Image, mode: str = "RGB") -> Pixels:
    """Return the pixels of a picture."""
    return np.asarray(picture.convert(mode))
