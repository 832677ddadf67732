"""Whoever else is told about the steps of a run: Weights & Biases, MLflow, Trackio, each through its own client.

The clients take addresses, keys and modes from their own settings. A service that cannot be reached, now or later, is a
notice to the user, and no reason to stop training.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from openhearth.training.reports import Finished, Notice, Report, StepDone, Stopped, Tell
from openhearth.training.spec import TrackerKind, TrackerSpec

PACKAGES: dict[TrackerKind, str] = {"wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
"""The package that each tracker's client is in."""


class Tracker(Protocol):
    """A run at a service."""

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        """Keep the metrics of a step; a step that was kept before an interruption may come again."""
        ...

    def finish(self, *, is_complete: bool) -> None:
        """End the run, or let it rest until it is resumed."""
        ...


class ClientRun:
    """A `Tracker` of a client whose runs have `log` and `finish`, and may be resumed however they ended."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        """See `Tracker.log`."""
        self._run.log(metrics, step=step)

    def finish(self, *, is_complete: bool) -> None:
        """See `Tracker.finish`."""
        del is_complete
        self._run.finish()


def find_tracker_obstacle(kinds: Sequence[TrackerKind]) -> str | None:
    """Return what keeps this machine from telling these trackers, in a sentence that says what to do."""
    missing = [kind for kind in kinds if find_spec(PACKAGES[kind]) is None]
    if not missing:
        return None
    return (
        f"This server cannot tell {' and '.join(missing)} about a job, because that is not installed. Its operator has "
        f"to run `pip install 'openhearth[{','.join(missing)}]'`."
    )


def tell_trackers(specs: Sequence[TrackerSpec], tell: Tell, *, directory: Path) -> Tell:
    """Return a `tell` that passes every report on, and the steps among them to all trackers."""
    for spec in specs:
        tell = _tell_both(spec, tell, directory)
    return tell


def _tell_both(spec: TrackerSpec, tell: Tell, directory: Path) -> Tell:
    tracker: Tracker | None = None

    def attempt(action: Callable[[], object]) -> None:
        nonlocal tracker
        try:
            action()
        except Exception as error:  # whatever a service has against it, the training goes on
            tracker = None
            tell(Notice(message=f"{spec.kind} cannot be told about this job: {error}"))

    def open_run() -> None:
        nonlocal tracker
        # Loaded by name: a client is there only if it is wanted.
        tracker = import_module(f"openhearth.training.{spec.kind}_run").open_run(spec, directory)

    def tell_both(report: Report) -> None:
        tell(report)
        if (run := tracker) is None:
            return
        if isinstance(report, StepDone):
            attempt(lambda: run.log(report.metrics.model_dump(exclude_none=True), step=report.step))
        elif isinstance(report, Finished | Stopped):
            attempt(lambda: run.finish(is_complete=isinstance(report, Finished)))

    attempt(open_run)
    return tell_both
