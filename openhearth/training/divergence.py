"""A loss that is no number any more: trying again would come to the same."""

import math

from openhearth.errors import OpenHearthError


class DivergedError(OpenHearthError):
    """The weights have left what can be computed with; the message says at which step, and what to change."""


def require_finite(loss: float, *, step: int) -> None:
    """Raise `DivergedError` unless the loss of a step is a finite number."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"The training diverged: the loss of step {step} is not a finite number. Use a smaller "
            "learning_rate_multiplier."
        )
