"""What a worker makes of how its trainer ended, whatever the trainer is."""

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from openhearth import clock
from openhearth.catalog.catalog import Catalog
from openhearth.executor.base import Program
from openhearth.jobs.retry import RetryPolicy
from openhearth.jobs.worker import Lane, Task, Worker, WorkerConfig
from openhearth.services.file_intake import FileIntake
from openhearth.services.file_storage import FileStorage
from openhearth.services.fine_tuning import TRAIN, VALIDATE, FineTuning
from openhearth.services.fine_tuning_runs import FineTuningRuns
from openhearth.services.result_files import ResultFiles
from openhearth.services.storage_quota import StorageQuota
from openhearth.services.training_config import TrainingConfig
from openhearth.services.training_files import TrainingFiles
from openhearth.store.tables import FineTuningCheckpointRow, FineTuningJobRow, TunedModelRow
from openhearth.tasks.fine_tuning import TrainTask, ValidateTask
from openhearth.training.reports import (
    CheckpointSaved,
    Failed,
    Finished,
    Report,
    Started,
    StepDone,
    StepMetrics,
    write_report,
)
from tests.storage import IncomingFile, Storage, open_storage

LANE = Lane(tasks=[VALIDATE, TRAIN], device="cpu")
CONFIG = WorkerConfig(lease_seconds=60.0, retry=RetryPolicy(max_attempts=4, first_delay_seconds=0.0))
HYPERPARAMETERS = {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0}
LAST_STEP: tuple[Report, ...] = (
    Started(step=0, total_steps=1, trained_tokens=5),
    StepDone(step=1, total_steps=1, metrics=StepMetrics(train_loss=1.0, train_mean_token_accuracy=0.5)),
    CheckpointSaved(step=1, directory="checkpoint-1", is_epoch_end=True),
    Finished(),
)


@dataclass
class Trainer:
    """A trainer that says what a test wants, and ends as it wants; `meanwhile` happens just before the last word."""

    says: Sequence[Report] = ()
    exit_code: int = 0
    meanwhile: Callable[[], Awaitable[object]] | None = None
    num_started: int = 0

    async def start(self, arguments: Sequence[str], *, log: Path) -> Program:
        """See `Executor.start`."""
        self.num_started += 1
        log.write_text("a word\n")
        checkpoint = log.parent / "checkpoint-1"
        checkpoint.mkdir()
        (checkpoint / "adapter_model.safetensors").write_bytes(b"weights")
        (checkpoint / "optimizer.pt").write_bytes(b"half")
        return cast(Program, self)

    async def lines(self) -> AsyncIterator[bytes]:
        """See `Program.lines`."""
        for number, report in enumerate(self.says, start=1):
            if number == len(self.says) and self.meanwhile is not None:
                await self.meanwhile()
            yield write_report(report).encode()

    async def ask_to_stop(self) -> None:
        """See `Program.ask_to_stop`."""

    async def kill(self) -> int:
        """See `Program.kill`."""
        return self.exit_code

    async def wait(self) -> int:
        """See `Program.wait`."""
        return self.exit_code


@dataclass
class Shop:
    """A job that is queued for training, and a worker for it."""

    root: Path
    storage: Storage
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        database, blobs = self.storage.database, self.storage.blobs
        full = StorageQuota(database, max_project_bytes=1)  # a finished training is not lost for want of room
        intake = FileIntake(FileStorage(database, blobs, full))
        model = type("Entry", (), {"path": self.root / "model"})
        catalog = cast(Catalog, type("Models", (), {"resolve": lambda _self, _name: model})())
        files = TrainingFiles(blobs, self.root / "jobs")
        runs = FineTuningRuns(catalog, files, ResultFiles(intake), config=TrainingConfig())
        tasks: dict[str, Task] = {VALIDATE: ValidateTask(runs), TRAIN: TrainTask(runs, self.trainer)}
        self.worker = Worker(database, tasks, name="w", lanes=[LANE], config=CONFIG)

    async def create(self, *, model: str, status: str) -> None:
        """Queue the job."""
        job = FineTuningJobRow(
            id="ftjob-a", project="p", status=status, created_at=0.0, model=model, base_model="m", result_name="ft:m",
            training_file="file-a", seed=1, integrations=[], result_files=[],
            method={"type": "supervised", "supervised": {"hyperparameters": HYPERPARAMETERS}},
        )  # fmt: skip
        async with self.storage.database.transaction() as tx:
            await tx.fine_tuning.create(job)
        await self.queue(VALIDATE if status == "validating_files" else TRAIN)

    async def queue(self, task: str = TRAIN) -> None:
        """Queue work on the job."""
        async with self.storage.database.transaction() as tx:
            await tx.jobs.enqueue(f"j{self.trainer.num_started}", task=task, lock="ftjob-a", now=clock.now())

    async def work(self) -> FineTuningJobRow:
        """Let the worker do all there is to do; return the job as it is then."""
        while await self.worker.run_once(LANE):
            pass
        return await self.job()

    async def job(self) -> FineTuningJobRow:
        """Return the job."""
        async with self.storage.database.read() as tx:
            return await tx.fine_tuning.get("ftjob-a")

    async def become(self, status: str) -> None:
        """Give the job a status."""
        async with self.storage.database.transaction() as tx:
            await tx.fine_tuning.change("ftjob-a", only_if=["queued", "running", "paused"], status=status)

    def left(self) -> list[str]:
        """Return the files that the job has on the disk."""
        return sorted(path.name for path in (self.root / "jobs").rglob("*") if path.is_file())


@asynccontextmanager
async def open_shop(root: Path, *, model: str = "m", status: str = "queued") -> AsyncIterator[Shop]:
    """Open a shop with a job in its queue."""
    async with open_storage(root) as storage:
        shop = Shop(root, storage)
        await shop.create(model=model, status=status)
        yield shop


async def test_success(tmp_path: Path) -> None:
    """The last checkpoint becomes the model, and of the files only its adapter stays."""
    async with open_shop(tmp_path) as shop:
        shop.trainer.says = LAST_STEP

        job = await shop.work()

        assert (job.status, job.fine_tuned_model) == ("succeeded", "ft:m")
        assert shop.left() == ["adapter_model.safetensors"]


async def test_out_of_memory(tmp_path: Path) -> None:
    """A trainer that is killed time after time fails the job with the settings that need less memory."""
    async with open_shop(tmp_path) as shop:
        shop.trainer.exit_code = -9

        job = await shop.work()

        assert (job.status, shop.trainer.num_started) == ("failed", 4)
        assert job.error is not None
        assert job.error["code"] == "out_of_memory"
        assert "OPENHEARTH_TRAINING_MAX_LENGTH" in job.error["message"]
        assert shop.left() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_out_of_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A worker that cannot write what the trainer needs fails the job in the same words as the trainer."""

    async def refuse(*_arguments: Any, **_options: Any) -> Program:
        raise OSError(number, os.strerror(number))

    async with open_shop(tmp_path) as shop:
        monkeypatch.setattr(shop.trainer, "start", refuse)

        job = await shop.work()

        assert job.status == "failed"
        assert job.error is not None
        assert job.error["code"] == "out_of_disk"
        assert "OPENHEARTH_HOME" in job.error["message"]
        assert shop.left() == []


async def test_failure(tmp_path: Path) -> None:
    """What the trainer says of its failure is the job's error, at once, and nothing is left behind."""
    async with open_shop(tmp_path) as shop:
        shop.trainer.says = (Failed(code="out_of_disk", message="The disk is full."),)

        job = await shop.work()

        assert (job.status, shop.trainer.num_started) == ("failed", 1)
        assert job.error == {"code": "out_of_disk", "message": "The disk is full.", "param": None}
        assert shop.left() == []


async def test_crash(tmp_path: Path) -> None:
    """A trainer that ends without a reason is tried again, then the job fails with its last words."""
    async with open_shop(tmp_path) as shop:
        shop.trainer.exit_code = 1

        job = await shop.work()

        assert (job.status, shop.trainer.num_started) == ("failed", 4)
        assert job.error is not None
        assert job.error["code"] == "server_error"
        assert "a word" in job.error["message"]


async def test_paused_in_the_last_step(tmp_path: Path) -> None:
    """A job that is paused when all is trained stays paused, with a model to call, and ends when it is resumed."""
    async with open_shop(tmp_path) as shop:
        shop.trainer.says, shop.trainer.meanwhile = LAST_STEP, lambda: shop.become("paused")

        assert (await shop.work()).status == "paused"
        async with shop.storage.database.read() as tx:
            (checkpoint,) = await tx.fine_tuning.checkpoints("ftjob-a")
        assert checkpoint.model_name == "ft:m:ckpt-step-1"
        assert await shop.storage.keys() == []

        shop.trainer.says, shop.trainer.meanwhile = (LAST_STEP[0], Finished()), None
        await shop.become("queued")
        await shop.queue()
        assert (await shop.work()).status == "succeeded"


async def test_paused_while_nobody_trains(tmp_path: Path) -> None:
    """A job that is paused after its trainer died leaves a model to call: its last snapshot."""
    async with open_shop(tmp_path) as shop:
        await shop.become("paused")
        async with shop.storage.database.transaction() as tx:
            for step in (1, 2):
                snapshot = FineTuningCheckpointRow(
                    fine_tuning_job_id="ftjob-a", step=step, id=f"ftckpt-{step}", created_at=0.0, directory=f"d{step}"
                )
                await tx.fine_tuning.keep_checkpoint(snapshot)

        job = await shop.work()

        assert (job.status, shop.trainer.num_started) == ("paused", 0)
        async with shop.storage.database.read() as tx:
            last, before = await tx.fine_tuning.checkpoints("ftjob-a")
            model = await tx.tuned_models.find("ft:m:ckpt-step-2")
        assert (last.model_name, before.model_name) == ("ft:m:ckpt-step-2", None)
        assert model is not None
        assert model.directory == "d2"


async def test_paused_between_two_attempts(tmp_path: Path) -> None:
    """A job that is paused while it waits for its next attempt leaves its last snapshot as a model."""
    async with open_shop(tmp_path) as shop:
        service = FineTuning(
            shop.storage.database, cast(Catalog, None), organization="o",
            find_obstacle=lambda: None, expect_adapters=lambda _: None,
        )  # fmt: skip
        snapshot = FineTuningCheckpointRow(
            fine_tuning_job_id="ftjob-a", step=1, id="ftckpt-1", created_at=0.0, directory="d1"
        )
        await shop.become("running")
        async with shop.storage.database.transaction() as tx:
            await tx.fine_tuning.keep_checkpoint(snapshot)

        await service.pause("p", "ftjob-a")

        assert (await shop.work()).status == "paused"
        async with shop.storage.database.read() as tx:
            (checkpoint,) = await tx.fine_tuning.checkpoints("ftjob-a")
        assert (checkpoint.model_name, shop.trainer.num_started) == ("ft:m:ckpt-step-1", 0)


async def test_killed_before_it_tidied_up(tmp_path: Path) -> None:
    """What a worker left lying that was killed when all was said and done goes the next time."""
    async with open_shop(tmp_path) as shop:
        await shop.become("failed")
        (tmp_path / "jobs" / "ftjob-a" / "d1").mkdir(parents=True)
        (tmp_path / "jobs" / "ftjob-a" / "d1" / "optimizer.pt").touch()

        assert (await shop.work()).status == "failed"
        assert shop.left() == []


async def test_deleted_checkpoint_stays_deleted(tmp_path: Path) -> None:
    """A checkpoint whose model was deleted does not come back when its step is taken again."""
    async with open_shop(tmp_path) as shop:
        shop.trainer.says, shop.trainer.exit_code = LAST_STEP[:-1], 1

        async def delete() -> None:
            async with shop.storage.database.transaction() as tx:
                await tx.tuned_models.delete("ft:m:ckpt-step-1")
                await tx.fine_tuning.unlist_checkpoint("ft:m:ckpt-step-1")

        await shop.worker.run_once(LANE)
        await delete()
        await shop.worker.run_once(LANE)

        assert shop.trainer.num_started == 2
        async with shop.storage.database.read() as tx:
            assert await tx.tuned_models.find("ft:m:ckpt-step-1") is None


async def test_cancelled_while_nobody_trains(tmp_path: Path) -> None:
    """What a cancelled job has on the disk goes, save what can be called."""
    async with open_shop(tmp_path) as shop:
        await shop.become("cancelled")
        for name in ("d1", "d2"):
            (tmp_path / "jobs" / "ftjob-a" / name).mkdir(parents=True)
            (tmp_path / "jobs" / "ftjob-a" / name / "adapter_model.safetensors").touch()
        async with shop.storage.database.transaction() as tx:
            for step, model in ((1, "ft:m:ckpt-step-1"), (2, None)):
                row = FineTuningCheckpointRow(
                    fine_tuning_job_id="ftjob-a", step=step, id=f"ftckpt-{step}", created_at=0.0,
                    directory=f"ftjob-a/d{step}", model_name=model,
                )  # fmt: skip
                await tx.fine_tuning.keep_checkpoint(row)
            tuned = TunedModelRow(
                name="ft:m:ckpt-step-1", project="p", base_model="m", fine_tuning_job_id="ftjob-a",
                directory="ftjob-a/d1", created_at=0.0,
            )  # fmt: skip
            await tx.tuned_models.keep(tuned)

        assert (await shop.work()).status == "cancelled"
        assert shop.left() == ["adapter_model.safetensors"]
        assert not (tmp_path / "jobs" / "ftjob-a" / "d2").exists()


async def test_cancelled_in_the_last_step(tmp_path: Path) -> None:
    """A job that is cancelled when all is trained stays cancelled; the checkpoint that can be called is kept."""
    async with open_shop(tmp_path) as shop:
        shop.trainer.says, shop.trainer.meanwhile = LAST_STEP, lambda: shop.become("cancelled")

        assert (await shop.work()).status == "cancelled"
        assert shop.left() == ["adapter_model.safetensors"]


async def test_deleted_parent(tmp_path: Path) -> None:
    """A job whose model was deleted before its files were checked fails, and says so."""
    async with open_shop(tmp_path, model="ft:gone", status="validating_files") as shop:
        rows = IncomingFile(b'{"prompt": "a", "completion": "b"}\n' * 10)
        await shop.storage.blobs.put("file-a", rows.content())

        job = await shop.work()

        assert job.status == "failed"
        assert job.error == {
            "code": "model_not_found",
            "message": "The model ft:gone, which this job goes on from, has been deleted.",
            "param": "model",
        }
        assert shop.left() == []
