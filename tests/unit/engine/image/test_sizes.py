"""Sizes to draw at, and what is drawn together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhearth.engine.image.sizes import batches, drawing_size, num_blocks

EDGES = st.integers(16, 4096)


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ((512, 512), (512, 512)),
        ((1024, 1024), (512, 512)),
        ((256, 256), (256, 256)),
        ((64, 64), (256, 256)),
        ((1792, 1024), (680, 384)),
        ((1024, 1792), (384, 680)),
        ((500, 290), (496, 288)),
    ],
)
def test_a_size_is_brought_into_the_range_of_the_model(asked: tuple[int, int], drawn: tuple[int, int]) -> None:
    """A model is asked for the shape that was asked for, at a size that it can draw."""
    assert drawing_size(asked, native=512, factor=8) == drawn


@given(EDGES, EDGES, st.sampled_from([8, 16, 32]))
def test_edges_are_multiples(width: int, height: int, factor: int) -> None:
    """What is drawn has edges that the model can have, and not many more pixels than it likes."""
    drawn = drawing_size((width, height), native=512, factor=factor)

    assert all(edge > 0 and edge % factor == 0 for edge in drawn)
    assert drawn[0] * drawn[1] <= 512**2 * 1.6 + factor * max(drawn)


@pytest.mark.parametrize(
    ("count", "max_pixels", "expected"),
    [
        (3, 100, [range(1), range(1, 2), range(2, 3)]),
        (3, 200, [range(2), range(2, 3)]),
        (3, 1000, [range(3)]),
        (2, 1, [range(1), range(1, 2)]),
    ],
)
def test_batches_hold_what_fits(count: int, max_pixels: int, expected: list[range]) -> None:
    """As many images as fit are drawn together, at least one."""
    assert batches(count, (10, 10), max_pixels=max_pixels) == expected


def test_blocks_cover_the_picture() -> None:
    """Usage counts blocks of 16 pixels, those at the edges whole."""
    assert num_blocks((512, 512)) == 1024
    assert num_blocks((17, 16)) == 2
