"""A run at MLflow, which takes its address from `MLFLOW_TRACKING_URI` and the like."""

from pathlib import Path

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from openhearth.training.spec import TrackerSpec

_RUN_TAG = "openhearth.run_id"


class MlflowRun:
    """See `Tracker`."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        """See `Tracker.log`."""
        for name, value in metrics.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def finish(self, *, is_complete: bool) -> None:
        """See `Tracker.finish`."""
        self._client.set_terminated(self._run_id, "FINISHED" if is_complete else "KILLED")


def open_run(spec: TrackerSpec, _directory: Path) -> MlflowRun:
    """Begin the run, or go on with the one of the same id in the experiment that is named as the project."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(spec.project)
    experiment_id = client.create_experiment(spec.project) if experiment is None else experiment.experiment_id
    found = client.search_runs([experiment_id], f"tags.`{_RUN_TAG}` = '{spec.run_id}'", ViewType.ALL, max_results=1)
    if found:
        run_id = found[0].info.run_id
        client.update_run(run_id, "RUNNING")
    else:
        tags = {_RUN_TAG: spec.run_id} | dict.fromkeys(spec.tags, "true")
        run_id = client.create_run(experiment_id, run_name=spec.name, tags=tags).info.run_id
    return MlflowRun(client, run_id)
