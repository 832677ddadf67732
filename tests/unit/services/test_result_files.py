"""The result file of a job."""

from openhearth.services.result_files import write_csv
from openhearth.store.tables import FineTuningStepRow


def test_csv() -> None:
    """Each step has a row, with five decimals; what was not measured at a step is empty."""
    measured = {"train_loss": 1 / 3, "train_mean_token_accuracy": 1.0}
    at_the_end = measured | {"full_valid_loss": 12.5, "full_valid_mean_token_accuracy": 0.0}
    steps = [
        FineTuningStepRow(fine_tuning_job_id="ftjob-a", step=1, metrics=measured | {"valid_loss": 2.0000049}),
        FineTuningStepRow(fine_tuning_job_id="ftjob-a", step=2, metrics=at_the_end),
    ]

    assert write_csv(steps).splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,"
        "full_valid_loss,full_valid_mean_token_accuracy",
        "1,0.33333,1.00000,2.00000,,,",
        "2,0.33333,1.00000,,,12.50000,0.00000",
    ]
