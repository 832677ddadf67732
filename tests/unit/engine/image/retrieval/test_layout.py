"""Where things go."""

from random import Random

import pytest

from openhearth.engine.image.retrieval.layout import WHOLE, Box, Layout, boxes


@pytest.mark.parametrize("place", [None, "left", "right", "top", "bottom"])
@pytest.mark.parametrize("extent", [None, "small", "large"])
@pytest.mark.parametrize("is_standing", [False, True])
def test_a_single_thing_is_on_the_canvas(place: str | None, extent: str | None, is_standing: bool) -> None:
    """Whatever its place and size."""
    layout = Layout(place=place, extent=extent, is_standing=is_standing)  # type: ignore[arg-type]
    for seed in range(20):
        (box,) = boxes(layout, Random(seed))

        assert 0 <= box.left <= box.left + box.width <= 1
        assert 0 <= box.top <= box.top + box.height <= 1


def test_places_and_sizes_are_kept() -> None:
    """What is on the left is left of the middle; what is small is smaller than what is large."""
    left = boxes(Layout(place="left"), Random(0))[0]
    small, large = (boxes(Layout(extent=extent), Random(0))[0] for extent in ("small", "large"))

    assert left.left + left.width / 2 < 0.5
    assert small.width < 0.4 < large.width


@pytest.mark.parametrize(("count", "arrangement"), [(0, "row"), (2, "row"), (2, "stack"), (3, "row"), (4, "row")])
def test_things_do_not_overlap(count: int, arrangement: str) -> None:
    """Several things have a box each."""
    found = boxes(Layout(count=count, arrangement=arrangement), Random(3))  # type: ignore[arg-type]

    assert len(found) == count
    for number, box in enumerate(found):
        for other in found[number + 1 :]:
            assert box.left + box.width <= other.left + 1e-6 or box.top + box.height <= other.top + 1e-6


def test_a_box_within_a_region() -> None:
    """Boxes move and shrink with their canvas."""
    region = Box(0.5, 0, 0.5, 0.5)

    assert WHOLE.within(region) == region
    assert Box(0.5, 0.5, 0.5, 0.5).within(region) == Box(0.75, 0.25, 0.25, 0.25)
