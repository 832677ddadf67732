"""What is said of a job whose machine ran out of something. Imports no tensor library: workers say it, too."""

import errno

from openhearth.training.reports import Failed

OUT_OF_MEMORY = Failed(
    code="out_of_memory",
    message="The trainer ran out of memory. Use shorter examples (OPENHEARTH_TRAINING_MAX_LENGTH), compute fewer of "
    "them at once (OPENHEARTH_TRAINING_MICRO_BATCH_SIZE), or a smaller model.",
)
OUT_OF_DISK = Failed(
    code="out_of_disk",
    message="The server's disk is full, so no checkpoint can be kept. Free space below OPENHEARTH_HOME and create the "
    "job again.",
)


def is_out_of_disk(error: BaseException) -> bool:
    """Return whether an error of the operating system means that the disk, or this user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
