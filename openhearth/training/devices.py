"""What to train on: the graphics processors if there are any, in the precision they are good at, else the processor."""

from dataclasses import dataclass

import torch

from openhearth.errors import OpenHearthError
from openhearth.training.spec import TrainingSpec


class DeviceError(OpenHearthError):
    """The machine does not have what was chosen; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What this machine has."""

    num_cuda: int
    has_bf16: bool
    has_mps: bool


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Where the weights lie and how the arithmetic is done; `bf16` is mixed precision with 32-bit adapters.

    With several processes each has a device and an equal part of every batch, and their gradients are averaged.
    """

    device: str
    bf16: bool
    num_processes: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the frozen base model."""
        return torch.bfloat16 if self.bf16 else torch.float32


def find_hardware() -> Hardware:
    """Look at this machine."""
    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Hardware(
        num_cuda=num_cuda,
        has_bf16=num_cuda > 0 and torch.cuda.is_bf16_supported(),
        has_mps=torch.backends.mps.is_available(),
    )


def choose_device(spec: TrainingSpec, hardware: Hardware) -> DevicePlan:
    """Return the plan for what a spec wants. Raises `DeviceError` if the machine does not have it."""
    has = {"cuda": hardware.num_cuda > 0, "mps": hardware.has_mps, "cpu": True}
    device = next(name for name in has if has[name]) if spec.device == "auto" else spec.device
    if not has[device]:
        raise DeviceError(
            f"There is no {device} device on this machine. Set OPENHEARTH_TRAINING_DEVICE to auto, or to one it has."
        )
    if spec.dtype == "bf16" and device == "cuda" and not hardware.has_bf16:
        raise DeviceError("This cuda device has no bfloat16. Set OPENHEARTH_TRAINING_DTYPE to auto or f32.")
    bf16 = spec.dtype == "bf16" or (spec.dtype == "auto" and device == "cuda" and hardware.has_bf16)
    return DevicePlan(device, bf16, _choose_num_processes(spec, device, hardware))


def _choose_num_processes(spec: TrainingSpec, device: str, hardware: Hardware) -> int:
    """Return as many processes as are wanted or there are devices, but a number that divides the batch."""
    most = {"cuda": hardware.num_cuda, "mps": 1}.get(device, spec.num_processes or 1)
    wanted = spec.num_processes or most
    if wanted > most:
        raise DeviceError(
            f"There are not {wanted} {device} devices on this machine, but {most}. Set "
            f"OPENHEARTH_TRAINING_NUM_PROCESSES to {most} or less."
        )
    return max(number for number in range(1, wanted + 1) if spec.batch_size % number == 0)
