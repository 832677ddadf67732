"""The judge's own measures, and prompts that training has not seen."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from image_model.colours import BACKGROUND_COLOURS, COLOURS
from image_model.evaluate import Judge, background_prompts, colour_prompts, grid, object_prompts, pair_prompts
from image_model.scenes import is_held_out
from image_model.sprites import Sprites


@pytest.mark.parametrize("name", list(COLOURS))
def test_a_colour_is_recognised(name: str) -> None:
    """A disc of a colour has that colour, whatever it lies on."""
    picture = Image.new("RGB", (256, 256), "white" if name != "white" else (176, 230, 160))
    picture.paste(COLOURS[name], (60, 60, 200, 200))

    judge = Judge.__new__(Judge)

    assert judge.has_colour(picture, name)
    assert not judge.has_colour(picture, "teal" if name != "teal" else "red")
    assert not judge.has_colour(Image.new("RGB", (256, 256)), name)


@pytest.mark.parametrize("name", list(BACKGROUND_COLOURS))
def test_a_plain_background_is_recognised(name: str) -> None:
    """The rim counts, not what is in the middle."""
    picture = Image.new("RGB", (256, 256), BACKGROUND_COLOURS[name])
    picture.paste("red" if name != "red" else "blue", (60, 60, 200, 200))

    assert Judge.__new__(Judge).has_background(picture, name)


def test_prompts_were_not_trained_on(sprites: Sprites) -> None:
    """Every combination is one that is held out."""
    many = tuple(
        replace(sprites.infos[0], name=f"{kind} {number}") for kind in ("ball", "key", "hat") for number in range(99)
    )
    sprites = Sprites(sprites.pixels, many)

    assert all(is_held_out(*names) for _, names in pair_prompts(sprites, 5))
    assert len(colour_prompts(sprites)) == 240
    for prompt, name in object_prompts(sprites, 8):
        assert name in prompt
    for prompt, kind in background_prompts(sprites, 3):
        assert kind.split()[0] in prompt


def test_the_grid_shows_every_sample() -> None:
    """Eight in a row, each from its own seed; clear ones on white."""
    sheet = grid(lambda prompt, seed: Image.new("RGBA", (256, 256), (seed, 0, 0, 0)), ["a", "transparent", *"bcdefgh"])

    assert sheet.size == (8 * 256, 2 * 256)
    pixels = np.asarray(sheet)
    assert pixels[10, 10].tolist() == [0, 0, 0]
    assert pixels[10, 300].tolist() == [255, 255, 255]
    assert pixels[300, 10].tolist() == [8, 0, 0]
