"""Sprites on a canvas."""

import numpy as np
from PIL import Image

from openhearth.engine.image.retrieval.canvas import Placed, coverage, layers, stacked
from openhearth.engine.image.retrieval.layout import Box

SIZE = (64, 64)


def test_a_sprite_fills_its_box() -> None:
    """It keeps its shape, in the middle of its box."""
    sprite = Image.new("RGBA", (20, 10), "red")

    (layer,) = layers([Placed(sprite, Box(0.5, 0, 0.5, 0.5))], SIZE)

    assert layer.getbbox() == (32, 8, 64, 24)


def test_a_sprite_can_be_mirrored() -> None:
    """Left becomes right."""
    sprite = Image.new("RGBA", (8, 8))
    sprite.paste("red", (0, 0, 4, 8))

    plain, mirrored = layers([Placed(sprite, Box(0, 0, 1, 1), flip) for flip in (False, True)], SIZE)

    assert plain.getpixel((4, 32)) == mirrored.getpixel((59, 32)) == (255, 0, 0, 255)
    assert plain.getpixel((59, 32)) == mirrored.getpixel((4, 32)) == (0, 0, 0, 0)


def test_coverage_and_order() -> None:
    """Coverage is that of each layer alone; the last layer is in front."""
    parts = layers([Placed(Image.new("RGBA", (4, 4), colour), Box(0, 0, 0.5, 0.5)) for colour in ("red", "blue")], SIZE)

    covers = coverage(parts, (4, 4))

    assert covers.shape == (2, 4, 4)
    assert (covers[:, :2, :2] == 1).all()
    assert covers.sum() == 8
    assert stacked(parts, SIZE).getpixel((10, 10)) == (0, 0, 255, 255)
    assert coverage([], (4, 4)).shape == (0, 4, 4)
    assert not np.asarray(stacked([], SIZE)).any()
