"""Fine-tuning jobs: created, listed, steered. Leaves running them to `fine_tuning_runs.py`, and to a worker."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openhearth import clock, ids
from openhearth.catalog.catalog import Catalog
from openhearth.errors import (
    BadRequestError,
    InvalidValueError,
    ModelNotFoundError,
    NotFoundError,
    UnsupportedParameterError,
)
from openhearth.schemas.fine_tuning import (
    CreateFineTuningJobRequest,
    FineTuningJob,
    ListFineTuningJobCheckpointsResponse,
    ListFineTuningJobEventsResponse,
    ListPaginatedFineTuningJobsResponse,
)
from openhearth.services.fine_tuning_objects import event, wire_checkpoint, wire_event, wire_job
from openhearth.services.hyperparameters import requested_method, unused_members
from openhearth.services.integrations import requested_integrations
from openhearth.store.database import Database, Transaction
from openhearth.store.tables import FineTuningJobRow
from openhearth.training.trackers import find_tracker_obstacle

VALIDATE, TRAIN = "fine_tuning.validate", "fine_tuning.train"
"""The two kinds of work that a job is made of; only the second needs a device."""

_UNFINISHED = ("validating_files", "queued", "running", "paused")


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a job starts from: the name that the job shows, and the base model under it."""

    model: str
    base_model: str


class FineTuning:
    """The use cases of fine-tuning jobs.

    `find_obstacle` says what keeps this server from training at all; `expect_adapters` is told the base model of each
    job, which will have an adapter to serve.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        *,
        organization: str,
        find_obstacle: Callable[[], str | None],
        expect_adapters: Callable[[str], None],
        now: clock.Clock = clock.now,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._organization = organization
        self._find_obstacle = find_obstacle
        self._expect_adapters = expect_adapters
        self._now = now

    async def start(self) -> None:
        """Tell of the base models whose jobs were created before this server was started."""
        async with self._database.read() as tx:
            base_models = await tx.fine_tuning.base_models(statuses=_UNFINISHED)
        for base_model in base_models:
            self._expect_adapters(base_model)

    async def create(self, project: str, request: CreateFineTuningJobRequest) -> FineTuningJob:
        """Create a job, to be validated and trained by a worker; once this returns, it survives a crash.

        Raises `BadRequestError` or `ModelNotFoundError` for whatever can be told without reading the files.
        """
        method = requested_method(request)
        _check_integrations(request)
        if (obstacle := self._find_obstacle()) is not None:
            raise BadRequestError(obstacle, code="training_unavailable")
        job_id, now = ids.fine_tuning_job_id(), self._now()
        async with self._database.transaction() as tx:
            origin = await self._origin(tx, project, request.model)
            for param in ("training_file", "validation_file"):
                await self._check_file(tx, project, getattr(request, param), param=param)
            row = FineTuningJobRow(
                id=job_id,
                project=project,
                status="validating_files",
                created_at=now,
                model=origin.model,
                base_model=origin.base_model,
                result_name=self._result_name(origin, request.suffix),
                training_file=request.training_file,
                validation_file=request.validation_file,
                suffix=request.suffix,
                seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
                method=method,
                integrations=requested_integrations(request, job_id),
                metadata_=request.metadata,
                result_files=[],
            )
            await tx.fine_tuning.create(row)
            await tx.fine_tuning.add_event(event(job_id, f"Created fine-tuning job: {job_id}", now=now))
            for name in unused_members(request.method):
                message = f"method.{name} is not used: the type of the method is {method['type']}"
                await tx.fine_tuning.add_event(event(job_id, message, level="warn", now=now))
            await tx.jobs.enqueue(ids.job_id(), task=VALIDATE, lock=job_id, now=now)
        self._expect_adapters(origin.base_model)
        return self._wire(row)

    async def list(
        self,
        project: str,
        *,
        metadata: Mapping[str, str] | None = None,
        has_no_metadata: bool = False,
        after: str | None = None,
        limit: int = 20,
    ) -> ListPaginatedFineTuningJobsResponse:
        """Return a page of jobs, newest first. Raises `NotFoundError` for an unknown `after`."""
        async with self._database.read() as tx:
            cursor = None if after is None else await _find(tx, project, after, param="after")
            rows = await tx.fine_tuning.list(
                project, metadata=metadata, has_no_metadata=has_no_metadata, after=cursor, limit=limit + 1
            )
        data = [self._wire(row) for row in rows[:limit]]
        return ListPaginatedFineTuningJobsResponse(object="list", data=data, has_more=len(rows) > limit)

    async def retrieve(self, project: str, job_id: str) -> FineTuningJob:
        """Return a job. Raises `NotFoundError`."""
        async with self._database.read() as tx:
            return self._wire(await _find(tx, project, job_id))

    async def cancel(self, project: str, job_id: str) -> FineTuningJob:
        """End a job; checkpoints that can be called stay. Raises `NotFoundError`, and `BadRequestError` if it ended."""
        now = self._now()
        async with self._database.transaction() as tx:
            row = await self._steer(tx, project, job_id, "cancel", _UNFINISHED, status="cancelled", finished_at=now)
            await _hand_over(tx, job_id, now=now)  # who only tidies up any more
            await tx.fine_tuning.add_event(event(job_id, "Fine-tuning job cancelled", now=now))
        return self._wire(row)

    async def pause(self, project: str, job_id: str) -> FineTuningJob:
        """Stop a running job, which leaves a checkpoint that can be called. Raises as `cancel` does."""
        now = self._now()
        async with self._database.transaction() as tx:
            row = await self._steer(tx, project, job_id, "pause", ("running",), status="paused")
            await _hand_over(tx, job_id, now=now)  # who only leaves the checkpoint
            await tx.fine_tuning.add_event(event(job_id, "Fine-tuning job paused", now=now))
        return self._wire(row)

    async def resume(self, project: str, job_id: str) -> FineTuningJob:
        """Let a paused job go on from its last checkpoint. Raises as `cancel` does."""
        now = self._now()
        async with self._database.transaction() as tx:
            row = await self._steer(tx, project, job_id, "resume", ("paused",), status="queued")
            await _hand_over(tx, job_id, now=now)
            await tx.fine_tuning.add_event(event(job_id, "Fine-tuning job resumed", now=now))
        return self._wire(row)

    async def list_events(
        self, project: str, job_id: str, *, after: str | None = None, limit: int = 20
    ) -> ListFineTuningJobEventsResponse:
        """Return a page of events, newest first. Raises `NotFoundError`, also for an unknown `after`."""
        async with self._database.read() as tx:
            await _find(tx, project, job_id)
            cursor = None if after is None else await tx.fine_tuning.find_event(job_id, after)
            if after is not None and cursor is None:
                raise NotFoundError(f"No such event: {after}", param="after")
            rows = await tx.fine_tuning.events(job_id, after=cursor, limit=limit + 1)
        data = [wire_event(row) for row in rows[:limit]]
        return ListFineTuningJobEventsResponse(object="list", data=data, has_more=len(rows) > limit)

    async def list_checkpoints(
        self, project: str, job_id: str, *, after: str | None = None, limit: int = 10
    ) -> ListFineTuningJobCheckpointsResponse:
        """Return a page of checkpoints, latest step first. Raises `NotFoundError`, also for an unknown `after`."""
        async with self._database.read() as tx:
            await _find(tx, project, job_id)
            known = {row.id: row for row in await tx.fine_tuning.checkpoints(job_id)}
            if after is not None and after not in known:
                raise NotFoundError(f"No such checkpoint: {after}", param="after")
            cursor = known[after] if after is not None else None
            rows = await tx.fine_tuning.listed_checkpoints(job_id, after=cursor, limit=limit + 1)
        data = [wire_checkpoint(row, step) for row, step in rows[:limit]]
        return ListFineTuningJobCheckpointsResponse(
            object="list",
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=len(rows) > limit,
        )

    async def _origin(self, tx: Transaction, project: str, model: str) -> _Origin:
        tuned = await tx.tuned_models.find_usable(project, model)
        if tuned is not None:
            return _Origin(tuned.name, tuned.base_model)
        try:
            entry = self._catalog.resolve(model)
        except ModelNotFoundError:
            raise ModelNotFoundError(model, param="model") from None
        if not entry.is_ready:
            raise ModelNotFoundError(model, param="model")
        if entry.kind != "text":
            raise InvalidValueError(
                f"Invalid 'model': '{model}' is an {entry.kind} model, and only text models can be fine-tuned.",
                param="model",
            )
        if entry.source == "remote":
            raise InvalidValueError(
                f"Invalid 'model': '{model}' is computed by another server, and only models whose weights are on this "
                "one can be fine-tuned.",
                param="model",
            )
        base = entry.alias_of or entry.id
        return _Origin(base, base)

    async def _check_file(self, tx: Transaction, project: str, file_id: str | None, *, param: str) -> None:
        if file_id is None:
            return
        row = await tx.files.find(project, file_id, now=self._now())
        if row is None:
            raise InvalidValueError(f"Invalid '{param}': no such file: {file_id}.", param=param)
        if row.purpose != "fine-tune":
            raise InvalidValueError(
                f"Invalid '{param}': the file {file_id} has the purpose '{row.purpose}', but 'fine-tune' is needed.",
                param=param,
            )

    async def _steer(
        self, tx: Transaction, project: str, job_id: str, verb: str, only_if: tuple[str, ...], **values: object
    ) -> FineTuningJobRow:
        await _find(tx, project, job_id)
        row = await tx.fine_tuning.change(job_id, only_if=only_if, **values)
        if row is None:
            status = (await tx.fine_tuning.get(job_id)).status
            raise BadRequestError(f"Job {job_id} is {status}, so there is nothing to {verb}.")
        return row

    def _result_name(self, origin: _Origin, suffix: str | None) -> str:
        return f"ft:{origin.base_model}:{self._organization}:{suffix or ''}:{ids.tuned_model_suffix()}"

    def _wire(self, row: FineTuningJobRow) -> FineTuningJob:
        return wire_job(row, organization=self._organization)


def _check_integrations(request: CreateFineTuningJobRequest) -> None:
    if request.integrations and (obstacle := find_tracker_obstacle(["wandb"])) is not None:
        raise UnsupportedParameterError(obstacle, param="integrations")


async def _hand_over(tx: Transaction, job_id: str, *, now: float) -> None:
    """Let a worker see what has become of a job, in place of whatever is queued for it."""
    await tx.jobs.remove_queued(job_id)
    await tx.jobs.enqueue(ids.job_id(), task=TRAIN, lock=job_id, now=now)


async def _find(tx: Transaction, project: str, job_id: str, *, param: str = "fine_tune_id") -> FineTuningJobRow:
    row = await tx.fine_tuning.find(project, job_id)
    if row is None:
        raise NotFoundError(f"Could not find fine tune: {job_id}", param=param, code="fine_tune_not_found")
    return row
