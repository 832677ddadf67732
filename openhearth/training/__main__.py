"""`python -m openhearth.training spec.json`: trains, and reports by lines on standard output.

Standard input is the leash: a line asks for a checkpoint and a stop, and its end, which comes when whoever started
the trainer is gone for whatever reason, ends the trainer at once. Everything that libraries print goes to standard
error. Exit code 0: finished, stopped, or failed for a reason that was reported; any other: try again.
"""

import os
import sys
import threading
from importlib import import_module
from pathlib import Path

from openhearth.training.reports import Report, Tell, write_report


def main(spec_file: Path, rank: int | None = None) -> None:
    """Carry out the spec in a file; as one of several processes if there is a `rank`."""
    tell = _take_standard_output()
    stop = _hold_leash()
    # Loaded by name, after both are in hand: what is loaded takes seconds, and may print.
    import_module("openhearth.training.program").carry_out(spec_file, tell, stop, rank)


def _take_standard_output() -> Tell:
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
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
