"""Which failures of a run are the caller's to mend, and in which words they are told."""

import errno

import torch

from openhearth.training.reports import Failed
from openhearth.training.rows import RowError, ValidationRowError

_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


def explain(error: Exception) -> Failed | None:
    """Return the report of a failure that trying again would not heal; `None` for any other."""
    if isinstance(error, RowError):
        kind = "validation" if isinstance(error, ValidationRowError) else "training"
        return Failed(
            code=f"invalid_{kind}_file",
            message=f"The job failed due to an invalid {kind} file. {error}",
            param=f"{kind}_file",
        )
    if _is_out_of_memory(error):
        return Failed(
            code="out_of_memory",
            message="The trainer ran out of memory. Use shorter examples (OPENHEARTH_TRAINING_MAX_LENGTH), compute "
            "fewer of them at once (OPENHEARTH_TRAINING_MICRO_BATCH_SIZE), or a smaller model.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(
            code="out_of_disk",
            message="The server's disk is full, so no checkpoint can be kept. Free space below OPENHEARTH_HOME and "
            "create the job again.",
        )
    return None


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
