"""What names things by their edges."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from image_model.scorer import Scorer, cut, evaluate
from image_model.sprites import Sprites
from openhearth.engine.image.retrieval.layout import Box

SHAPES = {
    "disc": [(20 + 90 * np.cos(turn) + 76, 96 + 90 * np.sin(turn)) for turn in np.linspace(0, 6.28, 60)],
    "flag": [(10, 10), (180, 60), (10, 110), (10, 180), (2, 180), (2, 10)],
    "bar": [(4, 70), (188, 70), (188, 120), (4, 120)],
    "arrow": [(96, 4), (180, 100), (120, 100), (120, 188), (72, 188), (72, 100), (12, 100)],
}


def drawn(points: list[tuple[float, float]], colour: str) -> Image.Image:
    """Return a shape in RGBA."""
    picture = Image.new("RGBA", (192, 192))
    ImageDraw.Draw(picture).polygon(points, fill=colour)
    return picture


@pytest.fixture(scope="module")
def shapes(sprites: Sprites) -> Sprites:
    """Give a sprite of each shape, all red."""
    pictures = (np.asarray(drawn(points, "red")) for points in SHAPES.values())
    pixels = np.stack([np.concatenate([rgba, rgba[..., 3:]], -1) for rgba in pictures])
    return Sprites(pixels, tuple(replace(sprites.infos[0], name=name) for name in SHAPES))


@pytest.mark.parametrize("name", list(SHAPES))
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_shape_has_its_name(shapes: Sprites, name: str, is_mirrored: bool) -> None:
    """In another colour, on another background, mirrored or not."""
    shape = drawn(SHAPES[name], "blue")
    picture = Image.new("RGBA", (384, 384), "yellow")
    picture.alpha_composite(ImageOps.mirror(shape) if is_mirrored else shape, (96, 48))

    names = Scorer(shapes).names(picture, Box(0.25, 0.125, 0.5, 0.5))

    assert names[0] == name
    assert sorted(names) == sorted(SHAPES)


def test_noise_has_no_name_in_particular(shapes: Sprites) -> None:
    """All names are given, whatever there is to be seen."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))

    assert sorted(Scorer(shapes).names(noise, Box(0, 0, 1, 1))) == sorted(SHAPES)
    assert Scorer(shapes).names(Image.new("RGB", (64, 64)), Box(0, 0, 1, 1))


def test_a_cut_is_what_the_box_shows() -> None:
    """At 64x64, whatever its size was."""
    picture = Image.new("RGB", (256, 128), "white")
    picture.paste("red", (64, 32, 128, 64))

    assert (np.asarray(cut(picture, Box(0.25, 0.25, 0.25, 0.25))) == (255, 0, 0, 255)).all()


def test_the_scorer_is_scored(shapes: Sprites) -> None:
    """On scenes of the things that it knows; among five of four names every name is."""
    top1, top5 = evaluate(Scorer(shapes), 6)

    assert top1 >= 0.5
    assert top5 == 1
