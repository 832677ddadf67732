"""Keep fine-tuning jobs, the queue of work, and tuned models. Runs before the code that needs it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables of the queue and of fine-tuning."""
    _make_queue()
    _make_fine_tuning_jobs()
    _make_fine_tuning_records()
    _make_tuned_models()


def _make_queue() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("lock", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("run_after", sa.Double(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("lease_expires_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_task_status_run_after", "jobs", ["task", "status", "run_after"])
    op.create_index("ix_jobs_lock", "jobs", ["lock"])


def _make_fine_tuning_jobs() -> None:
    op.create_table(
        "fine_tuning_jobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("estimated_finish", sa.Double(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("result_name", sa.String(), nullable=False),
        sa.Column("fine_tuned_model", sa.String(), nullable=True),
        sa.Column("training_file", sa.String(), nullable=False),
        sa.Column("validation_file", sa.String(), nullable=True),
        sa.Column("suffix", sa.String(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.JSON(), nullable=False),
        sa.Column("integrations", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result_files", sa.JSON(), nullable=False),
        sa.Column("trained_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_steps", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_fine_tuning_jobs"),
    )
    op.create_index("ix_fine_tuning_jobs_project_created_at_id", "fine_tuning_jobs", ["project", "created_at", "id"])


def _make_fine_tuning_records() -> None:
    op.create_table(
        "fine_tuning_events",
        _job_column("fine_tuning_events"),
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("fine_tuning_job_id", "position", name="pk_fine_tuning_events"),
        sa.UniqueConstraint("id", name="uq_fine_tuning_events_id"),
    )
    op.create_table(
        "fine_tuning_steps",
        _job_column("fine_tuning_steps"),
        sa.Column("step", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("fine_tuning_job_id", "step", name="pk_fine_tuning_steps"),
    )
    op.create_table(
        "fine_tuning_checkpoints",
        _job_column("fine_tuning_checkpoints"),
        sa.Column("step", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("model_name", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("fine_tuning_job_id", "step", name="pk_fine_tuning_checkpoints"),
        sa.UniqueConstraint("id", name="uq_fine_tuning_checkpoints_id"),
    )


def _make_tuned_models() -> None:
    op.create_table(
        "tuned_models",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("fine_tuning_job_id", sa.String(), nullable=False),
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tuned_models"),
    )
    op.create_index("ix_tuned_models_project_created_at_name", "tuned_models", ["project", "created_at", "name"])
    op.create_table(
        "checkpoint_permissions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model_name", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoint_permissions"),
        sa.ForeignKeyConstraint(
            ["model_name"],
            ["tuned_models.name"],
            name="fk_checkpoint_permissions_model_name",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("model_name", "project", name="uq_checkpoint_permissions_model_name"),
    )


def _job_column(table: str) -> sa.Column[str]:
    return sa.Column(
        "fine_tuning_job_id",
        sa.String(),
        sa.ForeignKey("fine_tuning_jobs.id", name=f"fk_{table}_fine_tuning_job_id", ondelete="CASCADE"),
        nullable=False,
    )
