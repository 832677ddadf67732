"""Sizes: which one to draw at when another was asked for. All in pixels, width before height."""

import math

Size = tuple[int, int]

_BLOCK = 16


def drawing_size(asked: Size, *, native: int, factor: int) -> Size:
    """Return the size nearest to `asked` that the model draws well.

    It has the shape that was asked for, as far as multiples of `factor` allow, and between a quarter and all of the
    pixels of the square of edge `native`: below, models lose the thread; above, they repeat themselves.
    """
    width, height = asked
    pixels = min(max(width * height, native**2 / 4), native**2)
    scale = math.sqrt(pixels / (width * height))
    return _snap(width * scale, factor), _snap(height * scale, factor)


def num_blocks(size: Size) -> int:
    """Return how many blocks of 16x16 pixels cover a picture of this size: the unit that usage is counted in."""
    width, height = size
    return math.ceil(width / _BLOCK) * math.ceil(height / _BLOCK)


def batches(count: int, size: Size, *, max_pixels: int) -> list[range]:
    """Split images 0 to `count` - 1 into runs that are drawn together: as many as `max_pixels` hold, at least one."""
    width, height = size
    step = max(1, max_pixels // (width * height))
    return [range(start, min(start + step, count)) for start in range(0, count, step)]


def _snap(edge: float, factor: int) -> int:
    return max(1, round(edge / factor)) * factor
