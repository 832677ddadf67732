"""Whoever is told about the steps of a run, through the real clients."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mlflow import MlflowClient

from openhearth.training import trackers
from openhearth.training.reports import Finished, Notice, Report, Started, StepDone, StepMetrics, Stopped
from openhearth.training.spec import TrackerKind, TrackerSpec
from openhearth.training.trackers import find_tracker_obstacle, tell_trackers


def tracker_spec(kind: TrackerKind) -> TrackerSpec:
    """Return the run of a job."""
    return TrackerSpec(kind=kind, project="lamps", name="ftjob-a", tags=("mine",), run_id="ftjob-a")


def step(number: int) -> StepDone:
    """Return the report of a step."""
    metrics = StepMetrics(train_loss=1 / number, train_mean_token_accuracy=0.5)
    return StepDone(step=number, total_steps=3, metrics=metrics)


INTERRUPTED: list[Report] = [Started(step=0, total_steps=3, trained_tokens=1), step(1), step(2), Stopped()]
CONTINUED: list[Report] = [Started(step=1, total_steps=3, trained_tokens=1), step(2), step(3), Finished()]


def tell_all(kind: TrackerKind, folder: Path, reports: list[Report]) -> list[Report]:
    """Tell a tracker; return what everybody else was told."""
    told: list[Report] = []
    tell = tell_trackers([tracker_spec(kind)], told.append, directory=folder)
    for report in reports:
        tell(report)
    return told


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was interrupted goes on as the same run, with a value for each step."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/runs")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    assert tell_all("mlflow", tmp_path, INTERRUPTED) == INTERRUPTED
    assert tell_all("mlflow", tmp_path, CONTINUED) == CONTINUED

    client = MlflowClient(f"file://{tmp_path}/runs")
    (run,) = client.search_runs([client.get_experiment_by_name("lamps").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.tags["mine"]) == ("ftjob-a", "FINISHED", "true")
    assert {value.step for value in client.get_metric_history(run.info.run_id, "train_loss")} == {1, 2, 3}


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of Trackio, on this machine."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = import_module("trackio")  # which reads its settings then

    assert tell_all("trackio", tmp_path, INTERRUPTED) == INTERRUPTED
    assert tell_all("trackio", tmp_path, CONTINUED) == CONTINUED

    (run,) = trackio.Api().runs("lamps")
    assert run.name == "ftjob-a"
    kept = import_module("trackio.sqlite_storage").SQLiteStorage.get_logs("lamps", "ftjob-a")
    assert {row["step"] for row in kept if "train_loss" in row} == {1, 2, 3}


class FailingRun:
    """A service that goes away after a step."""

    def log(self, _metrics: dict[str, float], *, step: int) -> None:
        """Keep the second step alone."""
        if step > 2:
            raise ConnectionError("nobody there")

    def finish(self, *, is_complete: bool) -> None:
        """Never come to that."""
        raise AssertionError(is_complete)


@pytest.mark.parametrize("fails_at", ["open", "log"])
def test_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str) -> None:
    """A service that cannot be reached is told of once, and training goes on."""

    def open_run(_spec: Any, _directory: Path) -> FailingRun:
        if fails_at == "open":
            raise ConnectionError("nobody there")
        return FailingRun()

    module = ModuleType("openhearth.training.trackio_run")
    monkeypatch.setattr(module, "open_run", open_run, raising=False)
    monkeypatch.setitem(sys.modules, "openhearth.training.trackio_run", module)

    told = tell_all("trackio", tmp_path, CONTINUED)

    assert [report for report in told if not isinstance(report, Notice)] == CONTINUED
    assert [report.message for report in told if isinstance(report, Notice)] == [
        "trackio cannot be told about this job: nobody there"
    ]


def test_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is not installed is an obstacle, in a sentence that says what to install."""
    monkeypatch.setattr(trackers, "PACKAGES", {"wandb": "no_such_package", "mlflow": "json", "trackio": "no_such"})

    obstacle = find_tracker_obstacle(["wandb", "mlflow", "trackio"])

    assert obstacle is not None
    assert "wandb and trackio" in obstacle
    assert "pip install 'openhearth[wandb,trackio]'" in obstacle
    assert find_tracker_obstacle(["mlflow"]) is None
