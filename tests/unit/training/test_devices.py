"""What is trained on follows from what there is."""

import pytest
import torch

from openhearth.training.devices import Hardware, choose_device
from openhearth.training.spec import DeviceChoice

NOTHING = Hardware(has_cuda=False, has_bf16=False, has_mps=False)
GPU = Hardware(has_cuda=True, has_bf16=True, has_mps=False)
OLD_GPU = Hardware(has_cuda=True, has_bf16=False, has_mps=False)
MAC = Hardware(has_cuda=False, has_bf16=False, has_mps=True)


@pytest.mark.parametrize(
    ("choice", "hardware", "device", "dtype"),
    [
        ("auto", NOTHING, "cpu", torch.float32),
        ("auto", GPU, "cuda", torch.bfloat16),
        ("auto", OLD_GPU, "cuda", torch.float32),
        ("auto", MAC, "mps", torch.float32),
        ("cpu", GPU, "cpu", torch.float32),
        ("mps", MAC, "mps", torch.float32),
    ],
)
def test_choice(choice: DeviceChoice, hardware: Hardware, device: str, dtype: torch.dtype) -> None:
    """A graphics processor is preferred, with bfloat16 where it has that; a choice is respected."""
    plan = choose_device(choice, hardware)

    assert (plan.device, plan.dtype) == (device, dtype)


def test_missing() -> None:
    """A device that is not there is an error that says what to set."""
    with pytest.raises(ValueError, match="OPENHEARTH_TRAINING_DEVICE"):
        choose_device("cuda", MAC)
