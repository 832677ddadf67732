"""Which failures of a run are the caller's to mend, and in which words they are told."""

import os

import torch

from openhearth.training.devices import DeviceError
from openhearth.training.divergence import DivergedError
from openhearth.training.exhaustion import OUT_OF_DISK, OUT_OF_MEMORY, is_out_of_disk
from openhearth.training.reports import Failed
from openhearth.training.rows import RowError, ValidationRowError

_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "std::bad_alloc")
_NO_DISK = (os.strerror(28), "os error 28", "PytorchStreamWriter failed", "inline_container.cc")
"""In the words of the system, of safetensors, and of torch, whose only reason to fail at writing is the disk."""


def explain(error: Exception) -> Failed | None:
    """Return the report of a failure that trying again would not heal; `None` for any other."""
    if isinstance(error, RowError):
        kind = "validation" if isinstance(error, ValidationRowError) else "training"
        return Failed(
            code=f"invalid_{kind}_file",
            message=f"The job failed due to an invalid {kind} file. {error}",
            param=f"{kind}_file",
        )
    if isinstance(error, DivergedError):
        return Failed(code="training_diverged", message=str(error), param="hyperparameters")
    if isinstance(error, DeviceError):
        return Failed(code="server_error", message=str(error))
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _says(error, _NO_MEMORY):
        return OUT_OF_MEMORY
    if is_out_of_disk(error) or _says(error, _NO_DISK):
        return OUT_OF_DISK
    return None


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    """Return whether a library, which has no class for it, says so in its message."""
    return any(word in str(error) for word in words)
