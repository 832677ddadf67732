"""What is trained on follows from what there is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from openhearth.training.base_model import common_arguments
from openhearth.training.devices import DeviceError, Hardware, choose_device
from openhearth.training.spec import TrainingSpec

NOTHING = Hardware(num_cuda=0, has_bf16=False, has_mps=False)
GPU = Hardware(num_cuda=1, has_bf16=True, has_mps=False)
GPUS = Hardware(num_cuda=4, has_bf16=True, has_mps=False)
OLD_GPU = Hardware(num_cuda=1, has_bf16=False, has_mps=False)
MAC = Hardware(num_cuda=0, has_bf16=False, has_mps=True)


def spec(**members: Any) -> TrainingSpec:
    """Return a spec."""
    here = Path()
    paths = {"base_model": here, "training_file": here, "output_dir": here}
    numbers = {"n_epochs": 1, "batch_size": 8, "learning_rate": 1e-4, "seed": 1}
    return TrainingSpec.model_validate({"method": "supervised", **paths, **numbers, **members})


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
def test_device(choice: str, hardware: Hardware, device: str, dtype: torch.dtype) -> None:
    """A graphics processor is preferred, with bfloat16 where it has that; a choice is respected."""
    plan = choose_device(spec(device=choice), hardware)

    assert (plan.device, plan.dtype) == (device, dtype)


@pytest.mark.parametrize(
    ("choice", "hardware", "dtype"),
    [("f32", GPU, torch.float32), ("bf16", NOTHING, torch.bfloat16), ("bf16", GPU, torch.bfloat16)],
)
def test_dtype(choice: str, hardware: Hardware, dtype: torch.dtype) -> None:
    """A choice of precision is respected on every device that has it."""
    assert choose_device(spec(dtype=choice), hardware).dtype == dtype


@pytest.mark.parametrize(
    ("hardware", "members", "num_processes"),
    [
        (GPUS, {}, 4),
        (GPUS, {"batch_size": 6}, 3),
        (GPUS, {"batch_size": 1}, 1),
        (GPUS, {"num_processes": 2}, 2),
        (GPUS, {"device": "cpu"}, 1),
        (GPU, {}, 1),
        (MAC, {}, 1),
        (NOTHING, {}, 1),
        (NOTHING, {"num_processes": 2}, 2),
    ],
)
def test_processes(hardware: Hardware, members: dict[str, Any], num_processes: int) -> None:
    """There is a process for each device that has a part in every batch; on the processor, as many as are wanted."""
    assert choose_device(spec(**members), hardware).num_processes == num_processes


@pytest.mark.parametrize(("batch_size", "most", "share"), [(8, 8, (2, 1)), (32, 4, (4, 2)), (28, 4, (1, 7))])
def test_shares(batch_size: int, most: int, share: tuple[int, int]) -> None:
    """The parts of all processes make up a batch, and none is larger than the memory is meant for."""
    wanted = spec(batch_size=batch_size, max_micro_batch_size=most)
    arguments = common_arguments(wanted, choose_device(wanted, GPUS))

    assert (arguments["per_device_train_batch_size"], arguments["gradient_accumulation_steps"]) == share


@pytest.mark.parametrize(
    ("members", "hardware", "setting"),
    [
        ({"device": "cuda"}, MAC, "OPENHEARTH_TRAINING_DEVICE"),
        ({"dtype": "bf16"}, OLD_GPU, "OPENHEARTH_TRAINING_DTYPE"),
        ({"num_processes": 8}, GPUS, "OPENHEARTH_TRAINING_NUM_PROCESSES"),
        ({"num_processes": 2}, MAC, "OPENHEARTH_TRAINING_NUM_PROCESSES"),
    ],
)
def test_missing(members: dict[str, Any], hardware: Hardware, setting: str) -> None:
    """What is not there is an error that says what to set."""
    with pytest.raises(DeviceError, match=setting):
        choose_device(spec(**members), hardware)
