"""The runs elsewhere that are told about a job."""

from typing import Any

from openhearth.schemas.fine_tuning import CreateFineTuningJobRequest
from openhearth.services.integrations import requested_integrations, trackers
from openhearth.services.training_config import TrainingConfig
from openhearth.store.tables import FineTuningJobRow


def job(*integrations: dict[str, Any], base_model: str = "m") -> FineTuningJobRow:
    """Return a job that asked for runs at Weights & Biases."""
    request = CreateFineTuningJobRequest.model_validate(
        {
            "model": base_model,
            "training_file": "file-a",
            "integrations": [{"type": "wandb", "wandb": integration} for integration in integrations],
        }
    )
    shown = requested_integrations(request, "ftjob-a")
    return FineTuningJobRow(id="ftjob-a", base_model=base_model, integrations=shown)


def test_names() -> None:
    """A run is called as it was asked for, or as its job; no two of a job have the same id."""
    first, second = trackers(job({"project": "p"}, {"project": "p", "name": "n", "entity": "e"}), TrainingConfig())

    assert (first.project, first.name, first.entity, first.run_id) == ("p", "ftjob-a", None, "ftjob-a")
    assert (second.project, second.name, second.entity, second.run_id) == ("p", "n", "e", "ftjob-a-2")


def test_older_job() -> None:
    """A job from before runs had ids of their own has one run, under its own id."""
    older = job({"project": "p"})
    del older.integrations[0]["wandb"]["run_id"]

    (run,) = trackers(older, TrainingConfig())

    assert run.run_id == "ftjob-a"


def test_tags() -> None:
    """A run has the tags it was asked for and those of the reference, cut to what the service takes."""
    (run,) = trackers(job({"project": "p", "tags": ["mine"]}, base_model="b" * 90), TrainingConfig())

    assert run.tags == ("mine", "openai/finetune", "openai/" + "b" * 57, "openai/ftjob-a")


def test_every_job() -> None:
    """Trackers of the settings are told beside those that the job asks for."""
    config = TrainingConfig(trackers=("mlflow",), tracker_project="all")

    wandb, mlflow = trackers(job({"project": "p"}), config)

    assert (wandb.kind, wandb.project) == ("wandb", "p")
    assert (mlflow.kind, mlflow.project, mlflow.run_id) == ("mlflow", "all", "ftjob-a")
