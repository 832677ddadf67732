"""The tables, one class each. A row is the truth; what it means is decided in `services/`.

Times are Unix seconds. `created_at` keeps its fraction, so that rows of the same second stay in the order they came.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    """The root of all tables. Constraints have names everywhere, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {int: BigInteger, float: Double}  # noqa: RUF012 (SQLAlchemy reads it as a class attribute)


class APIKeyRow(Table):
    """One API key. The key itself is not kept: a hash to find it by, and its last characters to know it by."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    project: Mapped[str]
    secret_hash: Mapped[str] = mapped_column(unique=True)
    last_characters: Mapped[str]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class FileRow(Table):
    """One file, complete: its content is the blob of the same id, stored before the row and deleted after it."""

    __tablename__ = "files"
    __table_args__ = (Index(None, "project", "created_at", "id"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    status: Mapped[str]
    status_details: Mapped[str | None]
    created_at: Mapped[float]
    expires_at: Mapped[int | None]


class UploadRow(Table):
    """One upload: the announcement of a file that arrives in parts."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "project"), Index(None, "status", "expires_at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    purpose: Mapped[str]
    filename: Mapped[str]
    mime_type: Mapped[str]
    bytes: Mapped[int]
    status: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[int]
    file_expires_after_seconds: Mapped[int | None]


class UploadPartRow(Table):
    """One part of a pending upload; its content is the blob of the same id. Gone once the upload has ended."""

    __tablename__ = "upload_parts"
    __table_args__ = (Index(None, "upload_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"))
    bytes: Mapped[int]
    created_at: Mapped[float]


class JobRow(Table):
    """One piece of work for a worker: many attempts, one row, gone when it is done.

    A worker holds it until `lease_expires_at`; `epoch` counts who has held it and tells the holder from those before.
    `attempts` counts what ended or is going on, `losses` the leases that ran out, both since the work last got further.
    Of the rows with one `lock`, one is held at a time; so it is with those on one `device`.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "task", "status", "run_after"), Index(None, "lock"))

    id: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str]
    lock: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[float]
    run_after: Mapped[float]
    attempts: Mapped[int]
    epoch: Mapped[int]
    worker: Mapped[str | None]
    device: Mapped[str | None]
    lease_expires_at: Mapped[float | None]
    losses: Mapped[int] = mapped_column(server_default="0")


class FineTuningJobRow(Table):
    """One fine-tuning job, as its owner sees it, and what its worker has to know.

    `model` is what was asked for, `base_model` what is trained in the end; `result_name` is the name that the tuned
    model will have.
    """

    __tablename__ = "fine_tuning_jobs"
    __table_args__ = (Index(None, "project", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
    estimated_finish: Mapped[float | None]
    model: Mapped[str]
    base_model: Mapped[str]
    result_name: Mapped[str]
    fine_tuned_model: Mapped[str | None]
    training_file: Mapped[str]
    validation_file: Mapped[str | None]
    suffix: Mapped[str | None]
    seed: Mapped[int]
    method: Mapped[dict[str, Any]] = mapped_column(JSON)
    integrations: Mapped[list[Any]] = mapped_column(JSON)
    metadata_: Mapped[dict[str, str] | None] = mapped_column("metadata", JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result_files: Mapped[list[str]] = mapped_column(JSON)
    trained_tokens: Mapped[int | None]
    total_steps: Mapped[int | None]


class FineTuningEventRow(Table):
    """One event of a job; `position` counts from 1. Of events that say the same thing, `key` lets in only the first."""

    __tablename__ = "fine_tuning_events"

    fine_tuning_job_id: Mapped[str] = mapped_column(
        ForeignKey("fine_tuning_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(unique=True)
    key: Mapped[str]
    created_at: Mapped[float]
    level: Mapped[str]
    message: Mapped[str]
    type: Mapped[str]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class FineTuningStepRow(Table):
    """What was measured at one step of a job."""

    __tablename__ = "fine_tuning_steps"

    fine_tuning_job_id: Mapped[str] = mapped_column(
        ForeignKey("fine_tuning_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)


class FineTuningCheckpointRow(Table):
    """One checkpoint of a job, at `directory` below the folder of all jobs.

    Those with a `model_name` can be called as models and are listed; the others are there to go on from.
    """

    __tablename__ = "fine_tuning_checkpoints"

    fine_tuning_job_id: Mapped[str] = mapped_column(
        ForeignKey("fine_tuning_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float]
    directory: Mapped[str]
    model_name: Mapped[str | None]


class TunedModelRow(Table):
    """One name that answers: a base model with the adapter at `directory`, below the folder of all jobs."""

    __tablename__ = "tuned_models"
    __table_args__ = (Index(None, "project", "created_at", "name"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    base_model: Mapped[str]
    fine_tuning_job_id: Mapped[str]
    directory: Mapped[str]
    created_at: Mapped[float]


class CheckpointPermissionRow(Table):
    """Leave for a project to call a checkpoint of another."""

    __tablename__ = "checkpoint_permissions"
    __table_args__ = (UniqueConstraint("model_name", "project"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    model_name: Mapped[str] = mapped_column(ForeignKey("tuned_models.name", ondelete="CASCADE"))
    project: Mapped[str]
    created_at: Mapped[float]
