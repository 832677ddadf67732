"""A handful of sprites."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from image_model.colours import recolourable_part
from image_model.sprites import SpriteInfo, Sprites

NAMES = ("ball", "car", "kite", "balloon", "key", "apple", "house", "tree", "scissors", "person")


@pytest.fixture(scope="session")
def sprites() -> Sprites:
    """Give ten discs, each with a name and a colour of its own, half of them in a second style."""
    pixels, infos = [], []
    for number, name in enumerate(NAMES):
        for style in ("flat", "3d")[: 1 + number % 2]:
            picture = Image.new("RGBA", (64, 64))
            ImageDraw.Draw(picture).ellipse((4, 4, 60, 60), fill=(220, 20 * number, 30, 255))
            rgba = np.asarray(picture)
            pixels.append(np.concatenate([rgba, recolourable_part(rgba)[..., None]], -1))
            infos.append(SpriteInfo(name, (f"{name} thing",), style, "object", name == "scissors", name != "person"))
    return Sprites(np.stack(pixels), tuple(infos))
