"""What the trainer does once it can be heard and stopped: read the spec, choose the device, train by the method."""

import threading
from importlib import import_module
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from openhearth.training import dpo, supervised
from openhearth.training.devices import choose_device, find_hardware
from openhearth.training.failures import explain
from openhearth.training.reports import Tell
from openhearth.training.run import train
from openhearth.training.spec import TrainingSpec

_METHODS = {"supervised": supervised.make_trainer, "dpo": dpo.make_trainer}


def carry_out(spec_file: Path, tell: Tell, stop: threading.Event) -> None:
    """Carry out the spec in a file, to its end or until `stop`."""
    spec = TrainingSpec.model_validate_json(spec_file.read_bytes())
    _make_reproducible(spec)
    try:
        if spec.wandb is not None:  # loaded by name: the client is there only if it is wanted
            connect = import_module("openhearth.training.wandb_run").connect
            tell = connect(spec.wandb, tell, directory=spec.output_dir)
        plan = choose_device(spec.device, find_hardware())
        train(_METHODS[spec.method], spec, plan, tell, stop)
    except Exception as error:
        failed = explain(error)
        if failed is None:
            raise
        tell(failed)


def _make_reproducible(spec: TrainingSpec) -> None:
    torch.set_num_threads(spec.num_threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads it
    transformers_logging.set_verbosity_error()
