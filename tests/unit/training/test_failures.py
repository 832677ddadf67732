"""Which failures are told, and which are left to be tried again."""

import errno
import os

import numpy as np
import pytest
import torch

from openhearth.training.devices import DeviceError
from openhearth.training.divergence import DivergedError, require_finite
from openhearth.training.exhaustion import OUT_OF_DISK, OUT_OF_MEMORY
from openhearth.training.failures import explain
from openhearth.training.rows import RowError, ValidationRowError

PETABYTE = 2**50


def test_memory() -> None:
    """Whoever asks for more memory than there is gets the same report."""
    for allocate in (torch.empty, np.empty, bytearray):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate(PETABYTE)

        assert explain(caught.value) == OUT_OF_MEMORY


def test_graphics_memory() -> None:
    """So does a graphics processor."""
    assert explain(torch.OutOfMemoryError("CUDA out of memory.")) == OUT_OF_MEMORY
    assert explain(RuntimeError("MPS backend out of memory (MPS allocated: 1 MB)")) == OUT_OF_MEMORY


def test_disk() -> None:
    """A full disk is told, and a file that is missing is not."""
    assert explain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) == OUT_OF_DISK
    assert explain(FileNotFoundError(errno.ENOENT, "gone")) is None


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_divergence(loss: float) -> None:
    """A loss that is no number is told with the step and with what to change."""
    with pytest.raises(DivergedError) as caught:
        require_finite(loss, step=7)

    failed = explain(caught.value)
    assert failed is not None
    assert (failed.code, failed.param) == ("training_diverged", "hyperparameters")
    assert "step 7" in failed.message
    assert "learning_rate_multiplier" in failed.message
    require_finite(2.5, step=8)


@pytest.mark.parametrize(
    ("error", "kind"), [(RowError("Line 3."), "training"), (ValidationRowError("Line 3."), "validation")]
)
def test_rows(error: RowError, kind: str) -> None:
    """What is wrong with a file is told with its parameter."""
    failed = explain(error)

    assert failed is not None
    assert (failed.code, failed.param) == (f"invalid_{kind}_file", f"{kind}_file")
    assert "Line 3." in failed.message


def test_devices() -> None:
    """So is a device that is not there, which no second attempt brings."""
    failed = explain(DeviceError("Set another."))

    assert failed is not None
    assert (failed.code, failed.message) == ("server_error", "Set another.")


def test_others() -> None:
    """Anything else may heal."""
    assert explain(RuntimeError("a shape is wrong")) is None
