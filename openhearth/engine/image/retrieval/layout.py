"""Where on a canvas the things of a prompt go. All measures are fractions of the canvas, from its top left corner.

The boxes are drawn at random within what looks right: the network is trained on the same ones that it is served.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

Arrangement = Literal["row", "stack"]
Place = Literal["left", "right", "top", "bottom"]
Extent = Literal["small", "large"]

_COLUMNS_OF_GRID = {1: 1, 2: 2, 3: 3, 4: 2}


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its left and top edge, its width and height."""

    left: float
    top: float
    width: float
    height: float

    def within(self, region: "Box") -> "Box":
        """Return this box of a canvas as that of a region of another."""
        return Box(
            region.left + self.left * region.width,
            region.top + self.top * region.height,
            self.width * region.width,
            self.height * region.height,
        )


WHOLE = Box(0, 0, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How `count` things lie: side by side or one above the other; a single one at a place and of an extent."""

    count: int = 1
    arrangement: Arrangement = "row"
    place: Place | None = None
    extent: Extent | None = None
    is_standing: bool = False


def boxes(layout: Layout, random: Random) -> list[Box]:
    """Return a square box for each thing, in reading order."""
    if layout.count == 0:
        return []
    if layout.count == 1:
        return [_single(layout, random)]
    if layout.arrangement == "stack" and layout.count == 2:
        return _stack(random)
    return _grid(layout, random)


def _single(layout: Layout, random: Random) -> Box:
    match layout.extent:
        case "small":
            edge = random.uniform(0.25, 0.36)
        case "large":
            edge = random.uniform(0.86, 0.96)
        case None:
            edge = random.uniform(0.5, 0.8) if layout.place is None else random.uniform(0.38, 0.5)
    room = 1 - edge
    x, y = random.gauss(0.5, 0.12), (random.uniform(0.75, 0.95) if layout.is_standing else random.gauss(0.5, 0.12))
    match layout.place:
        case "left" | "right":
            x = random.uniform(0.03, 0.15) if layout.place == "left" else random.uniform(0.85, 0.97)
        case "top" | "bottom":
            y = random.uniform(0.03, 0.15) if layout.place == "top" else random.uniform(0.85, 0.97)
    return Box(room * min(max(x, 0.0), 1.0), room * min(max(y, 0.0), 1.0), edge, edge)


def _stack(random: Random) -> list[Box]:
    edge = random.uniform(0.4, 0.48)
    left = (1 - edge) / 2
    return [Box(left + random.uniform(-0.06, 0.06), top, edge, edge) for top in (0.02, 0.98 - edge)]


def _grid(layout: Layout, random: Random) -> list[Box]:
    columns = _COLUMNS_OF_GRID[layout.count]
    rows = -(-layout.count // columns)
    cell = 1 / columns
    edge = min(cell, 1 / rows) * random.uniform(0.86, 0.97)
    middle = 0.66 if layout.is_standing and rows == 1 else 0.5
    gap = (cell - edge) / 2
    top = middle + random.uniform(-0.05, 0.05) - rows * cell / 2
    top = min(max(top, -gap), 1 - rows * cell + gap)
    return [
        Box(
            cell * (number % columns) + gap,
            top + cell * (number // columns) + gap,
            edge,
            edge,
        )
        for number in range(layout.count)
    ]
