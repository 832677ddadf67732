"""The fine-tuning resource (contract: fine-tuning, sections 2 to 8)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from openhearth.schemas.shared import NullIsDefault, RequestModel, ResponseModel
from openhearth.schemas.variants import chosen_by, variant

MethodType = Literal["supervised", "dpo", "reinforcement"]
JobStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
_MetadataKey = Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]
_MetadataValue = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)]


def _form_of_hyperparameter(value: Any) -> str:
    return "auto" if isinstance(value, str) else "number"


_Auto = Annotated[Literal["auto"], variant("auto")]
_Whole = chosen_by(_form_of_hyperparameter, expected="'auto' or an integer")
_Decimal = chosen_by(_form_of_hyperparameter, expected="'auto' or a number")
BatchSize = Annotated[_Auto | Annotated[int, Field(ge=1, le=256), variant("number")], _Whole, NullIsDefault()]
NumEpochs = Annotated[_Auto | Annotated[int, Field(ge=1, le=50), variant("number")], _Whole, NullIsDefault()]
LearningRateMultiplier = Annotated[_Auto | Annotated[float, Field(gt=0), variant("number")], _Decimal, NullIsDefault()]
Beta = Annotated[_Auto | Annotated[float, Field(gt=0, le=2), variant("number")], _Decimal, NullIsDefault()]


class SupervisedHyperparameters(RequestModel):
    """How examples are trained; `auto` is resolved when the files have been read."""

    batch_size: BatchSize = "auto"
    learning_rate_multiplier: LearningRateMultiplier = "auto"
    n_epochs: NumEpochs = "auto"


class DPOHyperparameters(SupervisedHyperparameters):
    """The same for preferences; `beta` holds the model close to what it was."""

    beta: Beta = "auto"


class SupervisedMethod(RequestModel):
    """Training on examples."""

    hyperparameters: Annotated[SupervisedHyperparameters, NullIsDefault()] = SupervisedHyperparameters()


class DPOMethod(RequestModel):
    """Training on preferences."""

    hyperparameters: Annotated[DPOHyperparameters, NullIsDefault()] = DPOHyperparameters()


class FineTuneMethod(RequestModel):
    """How to train; the member that is named like the `type` is used."""

    type: MethodType
    supervised: SupervisedMethod | None = None
    dpo: DPOMethod | None = None
    reinforcement: dict[str, Any] | None = None


class WandbIntegration(RequestModel):
    """A run at Weights & Biases, within the limits of that service."""

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]*$")]
    name: str | None = None
    entity: str | None = None
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list)


class FineTuningIntegration(RequestModel):
    """A service that is told about a job."""

    type: Literal["wandb"]
    wandb: WandbIntegration


class CreateFineTuningJobRequest(RequestModel):
    """A request to tune a model."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str | None, Field(min_length=1, max_length=64, pattern=r"^\P{Cc}*$")] = None
    seed: Annotated[int | None, Field(ge=0, le=2_147_483_647)] = None
    method: FineTuneMethod | None = None
    hyperparameters: SupervisedHyperparameters | None = None
    integrations: Annotated[list[FineTuningIntegration] | None, Field(max_length=5)] = None
    metadata: Metadata | None = None


class FineTuningJobError(ResponseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class FineTuningJob(ResponseModel):
    """A fine-tuning job. Times are Unix seconds."""

    id: str
    object: Literal["fine_tuning.job"]
    created_at: int
    finished_at: int | None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    status: JobStatus
    hyperparameters: dict[str, int | float | str] | None
    method: dict[str, Any]
    training_file: str
    validation_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    error: FineTuningJobError | None
    seed: int
    integrations: list[dict[str, Any]]
    estimated_finish: int | None
    metadata: dict[str, str] | None
    user_provided_suffix: str | None


class ListPaginatedFineTuningJobsResponse(ResponseModel):
    """A page of jobs."""

    object: Literal["list"]
    data: list[FineTuningJob]
    has_more: bool


class FineTuningJobEvent(ResponseModel):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class ListFineTuningJobEventsResponse(ResponseModel):
    """A page of events."""

    object: Literal["list"]
    data: list[FineTuningJobEvent]
    has_more: bool


class FineTuningJobCheckpoint(ResponseModel):
    """A model from the middle of a job."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, int | float]


class ListFineTuningJobCheckpointsResponse(ResponseModel):
    """A page of checkpoints."""

    object: Literal["list"]
    data: list[FineTuningJobCheckpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CreateFineTuningCheckpointPermissionRequest(RequestModel):
    """The projects that may call a checkpoint."""

    project_ids: list[Annotated[str, Field(min_length=1)]]


class FineTuningCheckpointPermission(ResponseModel):
    """Leave for a project to call a checkpoint."""

    id: str
    object: Literal["checkpoint.permission"]
    created_at: int
    project_id: str


class ListFineTuningCheckpointPermissionResponse(ResponseModel):
    """A page of permissions."""

    object: Literal["list"]
    data: list[FineTuningCheckpointPermission]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeleteFineTuningCheckpointPermissionResponse(ResponseModel):
    """The permission that is gone."""

    id: str
    object: Literal["checkpoint.permission"]
    deleted: bool
