"""The files of a job, fetched to where the trainer can read them, and checked row by row.

A job has one folder below the folder of all jobs: its files, the adapter it starts from, and one folder for each
attempt.
"""

import asyncio
import hashlib
import shutil
from contextlib import suppress
from pathlib import Path

import orjson

from openhearth.errors import BlobNotFoundError, OpenHearthError
from openhearth.store.blobs.base import BlobStore
from openhearth.store.tables import FineTuningJobRow
from openhearth.training.rows import RowError, RowsReport, TooFewRowsError, check_rows
from openhearth.training.spec import TrainingMethod

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class InvalidFileError(OpenHearthError):
    """A file cannot be trained on; the members are those of the job's error."""

    def __init__(self, message: str, *, code: str, param: str) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class TrainingFiles:
    """The folder of all jobs."""

    def __init__(self, blobs: BlobStore, folder: Path) -> None:
        self._blobs = blobs
        self._folder = folder

    def path(self, directory: str) -> Path:
        """Return where a directory of a checkpoint or model lies."""
        return self._folder / directory

    def job_folder(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._folder / job_id

    def training_file(self, job_id: str) -> Path:
        """Return where a job's training file lies."""
        return self.job_folder(job_id) / "training.jsonl"

    def validation_file(self, job: FineTuningJobRow) -> Path | None:
        """Return where a job's validation file lies, if it has one."""
        return None if job.validation_file is None else self.job_folder(job.id) / "validation.jsonl"

    def initial_adapter(self, job_id: str) -> Path | None:
        """Return where the adapter lies that a job starts from, if it starts from one."""
        path = self.job_folder(job_id) / "initial_adapter"
        return path if path.is_dir() else None

    async def check(self, job: FineTuningJobRow) -> RowsReport:
        """Fetch the files of a job and check them; return what the training file holds. Raises `InvalidFileError`."""
        self.job_folder(job.id).mkdir(mode=0o700, parents=True, exist_ok=True)
        method: TrainingMethod = job.method["type"]
        report = await self._check(job.training_file, self.training_file(job.id), method, kind="training")
        validation_file = self.validation_file(job)
        if job.validation_file is not None and validation_file is not None:
            await self._check(job.validation_file, validation_file, method, kind="validation")
            await asyncio.to_thread(_check_disjoint, self.training_file(job.id), validation_file)
        return report

    async def copy_adapter(self, job_id: str, directory: str) -> None:
        """Put the adapter that a job starts from into its folder, so that it outlives its model."""
        target = self.job_folder(job_id) / "initial_adapter"

        def copy() -> None:
            target.mkdir(parents=True, exist_ok=True)
            for name in ADAPTER_FILES:
                shutil.copyfile(self.path(directory) / name, target / name)

        await asyncio.to_thread(copy)

    async def remove(self, directory: str) -> None:
        """Remove the directory of a checkpoint or model."""
        await asyncio.to_thread(shutil.rmtree, self.path(directory), ignore_errors=True)

    async def keep_only(self, job_id: str, directories: set[str]) -> None:
        """Remove all of a job's folder but these directories, and of those what only a trainer needs."""
        await asyncio.to_thread(self._keep_only, job_id, directories)

    def _keep_only(self, job_id: str, directories: set[str]) -> None:
        kept = {self.path(directory) for directory in directories}
        for path in sorted(self.job_folder(job_id).rglob("*"), reverse=True):  # what lies inside comes first
            with suppress(FileNotFoundError):  # somebody deletes a model meanwhile
                if path.is_dir():
                    if not any(path.iterdir()):
                        path.rmdir()
                elif path.parent not in kept or path.name not in ADAPTER_FILES:
                    path.unlink()

    async def _check(self, file_id: str, target: Path, method: TrainingMethod, *, kind: str) -> RowsReport:
        try:
            await self._fetch(file_id, target)
            return await asyncio.to_thread(_check, target, method)
        except BlobNotFoundError:
            problem = f"The file {file_id} does not exist any more."
        except TooFewRowsError as error:
            raise InvalidFileError(
                f"{kind.capitalize()} file has {error}", code="invalid_n_examples", param=f"{kind}_file"
            ) from None
        except RowError as error:
            problem = str(error)
        raise InvalidFileError(
            f"The job failed due to an invalid {kind} file. {problem}",
            code=f"invalid_{kind}_file",
            param=f"{kind}_file",
        )

    async def _fetch(self, file_id: str, target: Path) -> None:
        reader = await self._blobs.open(file_id)
        try:
            with target.open("wb") as file:
                async for piece in reader:
                    await asyncio.to_thread(file.write, piece)
        finally:
            await reader.aclose()


def _check(path: Path, method: TrainingMethod) -> RowsReport:
    with path.open("rb") as lines:
        return check_rows(lines, method)


def _check_disjoint(training: Path, validation: Path) -> None:
    with training.open("rb") as lines:
        known = {_digest(line) for line in lines if line.strip()}
    with validation.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and _digest(line) in known:
                raise InvalidFileError(
                    f"The job failed due to an invalid validation file. Line {number} is in the training file, too.",
                    code="invalid_validation_file",
                    param="validation_file",
                )


def _digest(line: bytes) -> bytes:
    """Return what is the same for all ways to write a row."""
    row = orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(row, digest_size=16).digest()
