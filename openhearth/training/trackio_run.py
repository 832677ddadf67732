"""A run at Trackio, which keeps it on this machine unless its own settings name another place."""

from pathlib import Path

import trackio

from openhearth.training.spec import TrackerSpec


class TrackioRun:
    """See `Tracker`."""

    def __init__(self, run: trackio.Run) -> None:
        self._run = run

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        """See `Tracker.log`."""
        self._run.log(metrics, step=step)

    def finish(self, *, is_complete: bool) -> None:
        """See `Tracker.finish`; a run that has ended may be resumed just as well."""
        del is_complete
        self._run.finish()


def open_run(spec: TrackerSpec, _directory: Path) -> TrackioRun:
    """Begin or resume the run."""
    return TrackioRun(
        trackio.init(project=spec.project, name=spec.name, config={"tags": list(spec.tags)}, resume="allow")
    )
