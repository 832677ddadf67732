"""What the engine and its worker process say to each other. At most one request is under way at a time."""

from dataclasses import dataclass

from openhearth.engine.base import ImageModelInfo, ImageOutput, ImageParams


@dataclass(frozen=True, slots=True)
class Start:
    """To the worker: begin with a request."""

    number: int
    params: ImageParams


@dataclass(frozen=True, slots=True)
class Cancel:
    """To the worker: end a request at the next step, if it is still under way."""

    number: int


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: the model is in memory."""

    info: ImageModelInfo


@dataclass(frozen=True, slots=True)
class StepDone:
    """From the worker: one step of denoising is over."""


@dataclass(frozen=True, slots=True)
class Done:
    """From the worker: the request is over, or was cancelled."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From the worker: the model cannot be loaded, or the request has come to nothing."""

    error: Exception


class WorkerError(Exception):
    """Something that has no name went wrong in the worker; the message is its traceback."""


FromWorker = Ready | StepDone | ImageOutput | Done | Failed
