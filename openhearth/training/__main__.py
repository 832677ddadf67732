"""`python -m openhearth.training spec.json`: trains, and reports by lines on standard output.

Standard input is the leash: a line asks for a checkpoint and a stop, and its end, which comes when whoever started
the trainer is gone for whatever reason, ends the trainer at once. Everything that libraries print goes to standard
error. Exit code 0: finished, stopped, or failed for a reason that was reported; any other: try again.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from openhearth.training import dpo, supervised
from openhearth.training.devices import choose_device, find_hardware
from openhearth.training.failures import explain
from openhearth.training.reports import Report, write_report
from openhearth.training.spec import TrainingSpec

_RECIPES = {"supervised": supervised.train, "dpo": dpo.train}


def main(spec_file: Path) -> None:
    """Carry out the spec in a file."""
    tell = _take_standard_output()
    stop = _hold_leash()
    spec = TrainingSpec.model_validate_json(spec_file.read_bytes())
    _make_reproducible(spec)
    try:
        plan = choose_device(spec.device, find_hardware())
        _RECIPES[spec.method](spec, plan, tell, stop)
    except Exception as error:
        failed = explain(error)
        if failed is None:
            raise
        tell(failed)


def _make_reproducible(spec: TrainingSpec) -> None:
    torch.set_num_threads(spec.num_threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    transformers_logging.set_verbosity_error()


def _take_standard_output() -> Callable[[Report], None]:
    """Keep standard output for reports: whatever else is written there lands on standard error."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(report: Report) -> None:
        lines.write(write_report(report))
        lines.flush()

    return tell


def _hold_leash() -> threading.Event:
    stop = threading.Event()

    def watch() -> None:
        while os.read(0, 1024):  # unbuffered, so that no lock is held when the interpreter ends
            stop.set()
        os._exit(3)  # not `sys.exit`: nobody is left to hear a farewell, and a checkpoint may be half written

    threading.Thread(target=watch, daemon=True).start()
    return stop


if __name__ == "__main__":
    main(Path(sys.argv[1]))
