"""A run at Trackio, which keeps it on this machine unless its own settings name another place."""

from pathlib import Path

import trackio

from openhearth.training.spec import TrackerSpec
from openhearth.training.trackers import ClientRun


def open_run(spec: TrackerSpec, _directory: Path) -> ClientRun:
    """Begin or resume the run."""
    return ClientRun(
        trackio.init(project=spec.project, name=spec.name, config={"tags": list(spec.tags)}, resume="allow")
    )
