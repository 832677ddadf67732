"""The time, in one place, so that tests can move it."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""A function that gives the current Unix time in seconds."""


def now() -> float:
    """Return the current Unix time in seconds, with a fraction."""
    return time.time()
