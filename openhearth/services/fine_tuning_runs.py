"""What becomes of a job in the hands of a worker: its files are checked, its steps recorded, its end settled.

Every change stands in one transaction with the worker's lease, so a worker that lost its lease changes nothing.
Leaves running the trainer to `tasks/fine_tuning.py`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from openhearth import clock, ids
from openhearth.catalog.catalog import Catalog
from openhearth.jobs.context import JobContext
from openhearth.services.fine_tuning import TRAIN
from openhearth.services.fine_tuning_objects import event, metrics_event
from openhearth.services.hyperparameters import numbers, resolve
from openhearth.services.integrations import trackers
from openhearth.services.result_files import ResultFiles
from openhearth.services.training_config import TrainingConfig
from openhearth.services.training_files import InvalidFileError, TrainingFiles
from openhearth.store.database import Transaction
from openhearth.store.tables import FineTuningCheckpointRow, FineTuningJobRow, TunedModelRow
from openhearth.training.reports import CheckpointSaved, Failed, Notice, Report, Started, StepDone
from openhearth.training.spec import TrainingSpec

_MAX_STEPS_SHOWN_EACH = 100
_STEPS_BETWEEN_EVENTS = 10
_ENDED = ("succeeded", "failed", "cancelled")
_NUM_MODELS_KEPT = 3
_NUM_SNAPSHOTS_KEPT = 2


@dataclass(slots=True)
class Attempt:
    """One run of the trainer: what it was told, and how fast it goes."""

    job: FineTuningJobRow
    spec: TrainingSpec
    directory: str
    started_at: float = 0.0
    started_step: int = 0


class FineTuningRuns:
    """The use cases of a worker."""

    def __init__(
        self,
        catalog: Catalog,
        files: TrainingFiles,
        results: ResultFiles,
        *,
        config: TrainingConfig,
        now: clock.Clock = clock.now,
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._results = results
        self._config = config
        self._now = now

    async def validate(self, context: JobContext) -> None:
        """Check the files of a job, settle its hyperparameters, and queue it for training, or let it fail."""
        job_id = context.job.subject
        async with context.transaction() as tx:
            job = await tx.fine_tuning.get(job_id)
            if job.status != "validating_files":
                await context.finish(tx)
                return
            validation = f" and validation file: {job.validation_file}" if job.validation_file else ""
            message = f"Validating training file: {job.training_file}{validation}"
            await tx.fine_tuning.add_event(event(job_id, message, key="validating", now=self._now()))
            tuned = await tx.tuned_models.find(job.model)
        try:
            report = await self._files.check(job)
        except InvalidFileError as error:
            await self.fail(context, Failed(code=error.code, message=str(error), param=error.param))
            return
        if tuned is not None:
            await self._files.copy_adapter(job_id, tuned.directory)
        elif job.model != job.base_model:
            message = f"The model {job.model}, which this job goes on from, has been deleted."
            await self.fail(context, Failed(code="model_not_found", message=message, param="model"))
            return
        async with context.transaction() as tx:
            method = resolve(job.method, num_examples=report.num_examples)
            if await tx.fine_tuning.change(job_id, only_if=["validating_files"], status="queued", method=method):
                message = "Files validated, moving job to queued state"
                await tx.fine_tuning.add_event(event(job_id, message, key="validated", now=self._now()))
                await tx.jobs.enqueue(ids.job_id(), task=TRAIN, lock=job_id, now=self._now())
            await context.finish(tx)

    async def begin(self, context: JobContext) -> Attempt | None:
        """Begin or continue training; return what to run, or `None` if the job was steered elsewhere meanwhile."""
        job_id = context.job.subject
        async with context.transaction() as tx:
            job = await tx.fine_tuning.change(
                job_id, only_if=["queued", "running"], status="running", estimated_finish=None
            )
            if job is not None:
                started = event(job_id, "Fine-tuning job started", key="started", now=self._now())
                started.data = None
                await tx.fine_tuning.add_event(started)
            checkpoints = await tx.fine_tuning.checkpoints(job_id)
        if job is None:
            await self.leave(context)
            return None
        directory = f"{job_id}/{context.job.id}-{context.job.epoch}"
        resume_from = tuple(self._files.path(checkpoint.directory) for checkpoint in checkpoints)
        spec = self._spec(job, output_dir=self._files.path(directory), resume_from=resume_from)
        return Attempt(job, spec, directory, started_at=self._now())

    async def record(self, context: JobContext, attempt: Attempt, reports: Sequence[Report]) -> str:
        """Keep what the trainer said; return the status that the job has by now."""
        obsolete: list[str] = []
        async with context.transaction() as tx:
            job = await tx.fine_tuning.get(attempt.job.id)
            for report in reports:
                match report:
                    case Started():
                        await self._record_start(tx, attempt, report)
                    case StepDone():
                        await self._record_step(tx, attempt, report)
                    case Notice():
                        warning = event(job.id, report.message, key=report.message, level="warn", now=self._now())
                        await tx.fine_tuning.add_event(warning)
                    case CheckpointSaved():
                        await self._record_checkpoint(tx, attempt, job, report)
                        await context.note_progress(tx)
                        obsolete += await self._drop_old_checkpoints(tx, job.id)
        for directory in obsolete:
            await self._files.remove(directory)
        return job.status

    async def status(self, context: JobContext) -> str:
        """Return the status that the job has by now."""
        async with context.transaction() as tx:
            return (await tx.fine_tuning.get(context.job.subject)).status

    async def succeed(self, context: JobContext) -> None:
        """Make the last checkpoint the tuned model, keep the result file, and end the job."""
        job_id = context.job.subject
        async with context.transaction() as tx:
            job = await tx.fine_tuning.get(job_id)
            steps = await tx.fine_tuning.steps(job_id)
            last, *_ = await tx.fine_tuning.checkpoints(job_id)

        async def settle(tx: Transaction, result_file: str) -> None:
            await context.hold(tx)
            succeeded = await tx.fine_tuning.change(
                job_id,
                only_if=["running"],  # one that is paused in its last step ends when it is resumed
                status="succeeded",
                finished_at=self._now(),
                fine_tuned_model=job.result_name,
                result_files=[result_file],
            )
            if succeeded is None:
                raise _SteeredElsewhereError
            await tx.tuned_models.keep(self._model(job, job.result_name, last.directory))
            for message in (f"New fine-tuned model created: {job.result_name}", "The job has successfully completed"):
                await tx.fine_tuning.add_event(event(job_id, message, key=message, now=self._now()))

        with suppress(_SteeredElsewhereError):
            await self._results.keep(job, steps, also=settle)
        await self.leave(context)

    async def leave(self, context: JobContext) -> None:
        """Let go of a job that has ended, of which only what can be called is kept, or that was paused."""
        job_id = context.job.subject
        async with context.transaction() as tx:
            job = await tx.fine_tuning.get(job_id)
            checkpoints = await tx.fine_tuning.checkpoints(job_id)
            has_ended = job.status in _ENDED
            if has_ended:
                for checkpoint in checkpoints:
                    if checkpoint.model_name is None:
                        await tx.fine_tuning.delete_checkpoint(job_id, checkpoint.step)
            elif job.status == "paused" and checkpoints:
                await self._make_callable(tx, job, checkpoints[0])
            directories = await tx.tuned_models.directories_of(job_id)
        if has_ended:
            await self._files.keep_only(job_id, directories)
        async with context.transaction() as tx:
            await context.finish(tx)

    async def fail(self, context: JobContext, failure: Failed) -> None:
        """End a job with an error."""
        job_id = context.job.subject
        error = {"code": failure.code, "message": failure.message, "param": failure.param}
        async with context.transaction() as tx:
            failed = await tx.fine_tuning.change(
                job_id,
                only_if=["validating_files", "queued", "running"],
                status="failed",
                finished_at=self._now(),
                error=error,
            )
            if failed is not None:
                await tx.fine_tuning.add_event(event(job_id, failure.message, level="error", now=self._now()))
        await self.leave(context)

    def _spec(self, job: FineTuningJobRow, *, output_dir: Path, resume_from: tuple[Path, ...]) -> TrainingSpec:
        chosen, config = numbers(job.method), self._config
        base_model = self._catalog.resolve(job.base_model).path
        assert base_model is not None  # it was there when the job was created
        return TrainingSpec(
            method=job.method["type"],
            base_model=base_model,
            training_file=self._files.training_file(job.id),
            validation_file=self._files.validation_file(job),
            output_dir=output_dir,
            init_adapter=self._files.initial_adapter(job.id),
            resume_from=resume_from,
            n_epochs=chosen.n_epochs,
            batch_size=chosen.batch_size,
            max_micro_batch_size=config.max_micro_batch_size,
            learning_rate=config.base_learning_rate(job.method["type"]) * chosen.learning_rate_multiplier,
            beta=chosen.beta,
            seed=job.seed,
            max_length=config.max_length,
            lora=config.lora,
            device=config.device,
            dtype=config.dtype,
            num_processes=config.num_processes,
            num_threads=config.num_threads,
            trackers=trackers(job, config),
            snapshot_seconds=config.snapshot_seconds,
            created_at=job.created_at,
        )

    async def _record_start(self, tx: Transaction, attempt: Attempt, report: Started) -> None:
        attempt.started_at, attempt.started_step = self._now(), report.step
        await tx.fine_tuning.change(
            attempt.job.id, only_if=["running"], total_steps=report.total_steps, trained_tokens=report.trained_tokens
        )

    async def _record_step(self, tx: Transaction, attempt: Attempt, report: StepDone) -> None:
        job_id, now = attempt.job.id, self._now()
        metrics = report.metrics.model_dump(exclude_none=True)
        seconds_per_step = (now - attempt.started_at) / max(1, report.step - attempt.started_step)
        finish = now + seconds_per_step * (report.total_steps - report.step)
        await tx.fine_tuning.change(job_id, only_if=["running"], estimated_finish=finish)
        if await tx.fine_tuning.add_step(job_id, report.step, metrics) and _is_shown(report):
            shown = metrics_event(job_id, report.step, report.total_steps, metrics, now=now)
            await tx.fine_tuning.add_event(shown)

    async def _record_checkpoint(
        self, tx: Transaction, attempt: Attempt, job: FineTuningJobRow, report: CheckpointSaved
    ) -> None:
        is_model = report.is_epoch_end or job.status == "paused"
        name = f"{job.result_name}:ckpt-step-{report.step}" if is_model else None
        row = FineTuningCheckpointRow(
            fine_tuning_job_id=job.id,
            step=report.step,
            id=ids.checkpoint_id(),
            created_at=self._now(),
            directory=f"{attempt.directory}/{report.directory}",
            model_name=name,
        )
        await self._announce(tx, job, await tx.fine_tuning.keep_checkpoint(row))

    async def _make_callable(self, tx: Transaction, job: FineTuningJobRow, last: FineTuningCheckpointRow) -> None:
        """Make a model of the last snapshot of a paused job, whose trainer may have died before it left one."""
        if last.model_name is None:
            last.model_name = f"{job.result_name}:ckpt-step-{last.step}"
            await self._announce(tx, job, last)

    async def _announce(self, tx: Transaction, job: FineTuningJobRow, kept: FineTuningCheckpointRow) -> None:
        """Let a checkpoint that has a name be called, and tell of it."""
        if kept.model_name is None:
            return
        await tx.tuned_models.keep(self._model(job, kept.model_name, kept.directory))
        message = f"Checkpoint created at step {kept.step}: {kept.model_name}"
        await tx.fine_tuning.add_event(
            event(job.id, message, key=f"checkpoint-{kept.step}", now=self._now(), data={"step": kept.step})
        )

    async def _drop_old_checkpoints(self, tx: Transaction, job_id: str) -> list[str]:
        """Remove all checkpoints but the latest ones; return the directories that nobody needs any more."""
        checkpoints = await tx.fine_tuning.checkpoints(job_id)
        models = [row for row in checkpoints if row.model_name is not None]
        snapshots = [row for row in checkpoints if row.model_name is None]
        old = [*models[_NUM_MODELS_KEPT:], *snapshots[_NUM_SNAPSHOTS_KEPT:]]
        for row in old:
            await tx.fine_tuning.delete_checkpoint(job_id, row.step)
            if row.model_name is not None:
                await tx.tuned_models.delete(row.model_name)
        return [row.directory for row in old]

    def _model(self, job: FineTuningJobRow, name: str, directory: str) -> TunedModelRow:
        return TunedModelRow(
            name=name,
            project=job.project,
            base_model=job.base_model,
            fine_tuning_job_id=job.id,
            directory=directory,
            created_at=self._now(),
        )


class _SteeredElsewhereError(Exception):
    """The job was cancelled or paused while its end was being settled."""


def _is_shown(report: StepDone) -> bool:
    """Return whether a step gets an event: each one of a short job, every tenth of a long one, and each epoch's end."""
    is_due = report.step % _STEPS_BETWEEN_EVENTS == 0 or report.step == report.total_steps
    return report.total_steps <= _MAX_STEPS_SHOWN_EACH or is_due or report.metrics.full_valid_loss is not None
