"""What a picture will be, judged in the middle of denoising: read off the scheduler, whichever it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

Estimate = Callable[[], Any]
"""Returns the latents that the last step expects at the end."""


@contextmanager
def estimates(scheduler: Any) -> Iterator[Estimate]:
    """Listen to the steps of a scheduler for as long as the context lasts."""
    step, latest = scheduler.step, None

    @wraps(step)
    def listening(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal latest
        result = step(model_output, timestep, sample, *args, **kwargs)
        latest = _estimate(scheduler, model_output, sample, result)
        return result

    scheduler.step = listening
    try:
        yield lambda: latest
    finally:
        del scheduler.step


def _estimate(scheduler: Any, model_output: Any, sample: Any, result: Any) -> Any:
    """Return the expected latents; those of this step, noise and all, of a scheduler that does not say."""
    if len(result) > 1:  # Euler, DDIM, LCM and their kin return it
        return result[1]
    if type(scheduler).__name__.startswith("FlowMatch"):  # the output is the velocity on a straight line
        return sample - scheduler.sigmas[scheduler.step_index - 1] * model_output
    if getattr(scheduler, "model_outputs", None):  # DPM++ and UniPC keep it for their next step
        return scheduler.model_outputs[-1]
    return result[0]
