"""What to train on: the graphics processor if there is one, in the precision it is good at, else the processor."""

from dataclasses import dataclass

import torch

from openhearth.training.spec import DeviceChoice


@dataclass(frozen=True, slots=True)
class Hardware:
    """What this machine has."""

    has_cuda: bool
    has_bf16: bool
    has_mps: bool


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Where the weights lie and how the arithmetic is done; `bf16` is mixed precision with 32-bit adapters."""

    device: str
    bf16: bool

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the frozen base model."""
        return torch.bfloat16 if self.bf16 else torch.float32


def find_hardware() -> Hardware:
    """Look at this machine."""
    has_cuda = torch.cuda.is_available()
    return Hardware(
        has_cuda=has_cuda,
        has_bf16=has_cuda and torch.cuda.is_bf16_supported(),
        has_mps=torch.backends.mps.is_available(),
    )


def choose_device(choice: DeviceChoice, hardware: Hardware) -> DevicePlan:
    """Return the plan for a choice. Raises `ValueError` if the machine does not have what was chosen."""
    has = {"cuda": hardware.has_cuda, "mps": hardware.has_mps, "cpu": True}
    device = next(name for name in has if has[name]) if choice == "auto" else choice
    if not has[device]:
        raise ValueError(
            f"There is no {device} device on this machine. Set OPENHEARTH_TRAINING_DEVICE to auto, or to one it has."
        )
    return DevicePlan(device, bf16=device == "cuda" and hardware.has_bf16)
