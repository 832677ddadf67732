"""Masks: what may change, and what comes back as it was."""

import numpy as np
import pytest
from PIL import Image

from openhearth.engine.image.masks import filled, hole_of, pasted, widened
from tests.pictures import noise, pixels_of, with_hole


def rectangle(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Return a mask that is open in a rectangle."""
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def test_transparency_is_where_to_edit() -> None:
    """A mask is open exactly where its picture is transparent."""
    mask = hole_of(with_hole(noise(8, 8), left=2, top=3, right=5, bottom=6))

    assert mask.tobytes() == rectangle((8, 8), (2, 3, 5, 6)).tobytes()


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (512, 512), (64, 32)])
def test_a_single_pixel_opens_its_cell(size: tuple[int, int]) -> None:
    """However much a mask is scaled down or up, a hole of one pixel opens at least one cell, and cells as a whole."""
    mask = rectangle((128, 128), (77, 30, 78, 31))

    cells = pixels_of(widened(mask, size, cell=8), "L")

    blocks = cells.reshape(size[1] // 8, 8, size[0] // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 64)
    assert {tuple(sorted(set(block))) for block in blocks.tolist()} <= {(0,), (255,)}
    assert cells.max() == 255
    assert cells[30 * size[1] // 128, 77 * size[0] // 128] == 255


def test_outside_the_mask_nothing_changes() -> None:
    """Every pixel outside the hole is the original's, to the bit; deep inside it is what was drawn."""
    original, drawn = noise(seed=1), noise(seed=2)
    mask = rectangle(original.size, (20, 20, 60, 60))

    result = pixels_of(pasted(original, drawn, mask))

    outside = pixels_of(mask, "L") == 0
    assert (result[outside] == pixels_of(original)[outside]).all()
    assert (result[25:55, 25:55] == pixels_of(drawn)[25:55, 25:55]).all()


def test_the_seam_is_feathered_inside_the_hole() -> None:
    """From its edge inwards the hole goes over to what was drawn in a few steps."""
    black, white = Image.new("RGB", (40, 40), "black"), Image.new("RGB", (40, 40), "white")

    row = pixels_of(pasted(black, white, rectangle((40, 40), (10, 0, 40, 40))), "L")[20]

    assert row[9] == 0
    assert 0 < row[10] < row[11] < row[12] < row[13] == 255


def test_the_hole_is_filled_with_what_is_around_it() -> None:
    """Colours hidden under transparency are not seen by the model: the hole takes those of its surroundings."""
    picture = Image.new("RGB", (30, 30), (10, 200, 30))
    mask = rectangle((30, 30), (5, 5, 25, 25))
    picture.paste((255, 0, 255), (5, 5, 25, 25))

    assert np.abs(pixels_of(filled(picture, mask)).astype(int) - (10, 200, 30)).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 1)])
def test_a_hole_without_surroundings(size: tuple[int, int]) -> None:
    """A picture that is all hole can be filled, too."""
    assert filled(noise(*size), Image.new("L", size, 255)).size == size
