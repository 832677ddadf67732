"""The process that draws: one model, one request after the other, until its connection ends.

Runs under `engine.py`, which knows the order of requests. Everything heavy is imported here.
"""

import os
import signal
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from traceback import format_exc

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from openhearth.engine.base import ImageOutput
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.image.messages import Cancel, Done, Failed, Ready, Start, StepDone, WorkerError
from openhearth.engine.image.painter import Painter
from openhearth.engine.image.pipeline import Pipeline
from openhearth.errors import APIError, ModelLoadError, ServiceUnavailableError

_NICENESS = 5  # the server answers first, the pictures come after


class _CancelledError(Exception):
    """Whoever asked for the images has gone."""


def run(connection: Connection, folder: Path, config: ImageEngineConfig) -> None:
    """Load the model in `folder` and carry out what comes through the connection, until that ends."""
    _settle_in(config)
    try:
        pipeline = Pipeline(folder)
    except ModelLoadError as error:
        connection.send(Failed(error))
        return
    os.nice(_NICENESS)
    painter = Painter(pipeline, max_batch_pixels=config.max_batch_pixels)
    try:
        connection.send(Ready(pipeline.info))
        while True:
            match connection.recv():
                case Start() as start:
                    carry_out(painter, start, connection)
    except (EOFError, BrokenPipeError):
        return  # the server has gone


def carry_out(painter: Painter, start: Start, connection: Connection) -> None:
    """Draw the images of one request, sending each, and then its end."""

    def emit(output: ImageOutput) -> None:
        connection.send(output)

    def check() -> None:
        connection.send(StepDone())
        while connection.poll():
            if connection.recv() == Cancel(start.number):
                raise _CancelledError

    try:
        painter.paint(start.params, emit, check)
    except _CancelledError:
        connection.send(Done())
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        connection.send(Failed(_named(error)))
    else:
        connection.send(Done())


def _named(error: Exception) -> Exception:
    """Return the error as the server should see it; it cannot read what only torch has a class for."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return ServiceUnavailableError("There is not enough memory to draw this; ask for fewer or smaller images.")
    return WorkerError(format_exc())


def _settle_in(config: ImageEngineConfig) -> None:
    """Leave signals to the server, and the log to those who read it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
