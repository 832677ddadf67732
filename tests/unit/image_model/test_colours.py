"""Colours and how sprites take them on."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from image_model.colours import COLOURS, recolourable_part, recoloured


def car() -> np.ndarray:
    """Return a red body with a black wheel."""
    picture = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((4, 10, 60, 50), fill=(200, 30, 40, 255))
    draw.ellipse((10, 40, 26, 60), fill=(10, 10, 10, 255))
    return np.asarray(picture)


def test_most_of_a_sprite_is_its_colour() -> None:
    """The body takes on a colour; the wheel and what is clear do not."""
    part = recolourable_part(car())

    assert part[20, 30] == 255
    assert part[50, 18] == part[2, 2] == 0


def test_a_pale_sprite_can_take_on_a_colour() -> None:
    """Where most is gray, the gray is what changes."""
    part = recolourable_part(np.full((8, 8, 4), (180, 180, 184, 255), np.uint8))

    assert (part == 255).all()


@pytest.mark.parametrize("name", list(COLOURS))
def test_a_flat_part_becomes_the_colour_itself(name: str) -> None:
    """Without light and shade it is that colour; all else stays."""
    sprite = car()

    changed = recoloured(sprite, recolourable_part(sprite), COLOURS[name])

    assert tuple(changed[20, 30]) == (*COLOURS[name], 255)
    assert (changed[50, 18] == sprite[50, 18]).all()


def test_light_and_shade_stay() -> None:
    """What was lighter is lighter still."""
    sprite = np.full((8, 8, 4), (160, 20, 20, 255), np.uint8)
    sprite[:4, :, :3] = (230, 60, 60)

    changed = recoloured(sprite, recolourable_part(sprite), COLOURS["blue"]).astype(int)

    assert changed[0, 0].sum() > changed[7, 0].sum()
