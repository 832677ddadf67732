"""What the trainer does once it can be heard and stopped: read the spec, choose the device, train by the method."""

import sys
import threading
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from openhearth.training import dpo, supervised
from openhearth.training.devices import DevicePlan, choose_device, find_hardware
from openhearth.training.failures import explain
from openhearth.training.processes import train_together
from openhearth.training.reports import Failed, Tell
from openhearth.training.run import train
from openhearth.training.spec import TrainingSpec
from openhearth.training.trackers import tell_trackers

_METHODS = {"supervised": supervised.make_trainer, "dpo": dpo.make_trainer}


def carry_out(spec_file: Path, tell: Tell, stop: threading.Event, rank: int | None) -> None:
    """Carry out the spec in a file, to its end or until `stop`; as one of several processes if there is a `rank`."""
    spec = TrainingSpec.model_validate_json(spec_file.read_bytes())
    _make_reproducible(spec)
    try:
        plan = choose_device(spec, find_hardware())
        if plan.num_processes > 1 and rank is None:
            train_together(spec_file, plan.num_processes, tell, stop)
        else:
            _train(spec, plan, tell if not rank else _only_failures(tell), stop, is_first=not rank)
    except Exception as error:
        failed = explain(error)
        if failed is None:
            raise
        tell(failed)
        if rank is not None:
            sys.exit(1)  # the others cannot go on alone


def _train(spec: TrainingSpec, plan: DevicePlan, tell: Tell, stop: threading.Event, *, is_first: bool) -> None:
    if is_first:
        tell = tell_trackers(spec.trackers, tell, directory=spec.output_dir)
    train(_METHODS[spec.method], spec, plan, tell, stop)


def _only_failures(tell: Tell) -> Tell:
    """Return a `tell` for a process whose steps are those of the first one."""
    return lambda report: tell(report) if isinstance(report, Failed) else None


def _make_reproducible(spec: TrainingSpec) -> None:
    torch.set_num_threads(spec.num_threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads it
    transformers_logging.set_verbosity_error()
