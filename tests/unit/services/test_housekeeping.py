"""What housekeeping finds at start."""

import asyncio
from functools import partial
from pathlib import Path

from openhearth.home import storing_lock
from openhearth.schemas.uploads import CreateUploadRequest
from openhearth.services.housekeeping import Housekeeping, SweepReport
from openhearth.services.result_files import ResultFiles
from openhearth.store.blobs.filesystem import FilesystemBlobStore
from openhearth.store.database import Transaction
from openhearth.store.tables import FineTuningJobRow
from tests.storage import IncomingFile, open_storage


async def test_a_sweep_removes_what_has_no_row(tmp_path: Path) -> None:
    """Temporary files and blobs without a row go; files and parts of uploads stay."""
    folder = tmp_path / "blobs"
    async with open_storage(tmp_path, blobs=FilesystemBlobStore(folder)) as storage:
        file = await storage.files.create("a", IncomingFile(b"file"))
        upload = await storage.uploads.create(
            "a", CreateUploadRequest(filename="x", purpose="user_data", bytes=4, mime_type="text/plain")
        )
        part = await storage.uploads.add_part("a", upload.id, IncomingFile(b"part").content())
        (folder / "file-cut.partial").write_bytes(b"half")
        for number in range(1100):
            (folder / f"file-{number}").touch()

        report = await storage.housekeeping.sweep()

        assert report == SweepReport(num_blobs_removed=1101, num_files_without_content=0)
        assert sorted(path.name for path in folder.iterdir()) == sorted([file.id, part.id])
        assert await storage.content("a", file.id) == b"file"


async def test_a_sweep_marks_files_without_content(tmp_path: Path) -> None:
    """A file whose content is gone gets the status error and is reported at every start; others keep their status."""
    async with open_storage(tmp_path) as storage:
        lost = await storage.files.create("a", IncomingFile(b"lost"))
        kept = await storage.files.create("a", IncomingFile(b"kept"))
        await storage.blobs.delete(lost.id)

        first, second = await storage.housekeeping.sweep(), await storage.housekeeping.sweep()

        assert (first.num_files_without_content, second.num_files_without_content) == (1, 1)
        found = await storage.files.retrieve("a", lost.id)
        assert (found.status, found.status_details) == ("error", "The content of this file is missing on the server.")
        assert (await storage.files.retrieve("a", kept.id)).status == "processed"


async def test_a_sweep_of_nothing(tmp_path: Path) -> None:
    """A sweep of an empty home finds nothing."""
    async with open_storage(tmp_path) as storage:
        assert await storage.housekeeping.sweep() == SweepReport(0, 0)


async def test_a_sweep_beside_a_worker(tmp_path: Path) -> None:
    """What another process is just storing has no row yet, and stays."""
    async with open_storage(tmp_path, blobs=FilesystemBlobStore(tmp_path / "blobs")) as storage:
        housekeeping = Housekeeping(storage.database, storage.blobs, storing=partial(storing_lock, tmp_path))
        results = ResultFiles(storage.files._intake, storing=partial(storing_lock, tmp_path))
        sweeps: list[asyncio.Task[SweepReport]] = []

        async def also(_tx: Transaction, file_id: str) -> None:
            assert await storage.blobs.exists(file_id)
            sweeps.append(asyncio.create_task(housekeeping.sweep()))
            await asyncio.sleep(0.2)  # as long as a sweep takes that does not wait
            assert await storage.blobs.exists(file_id)

        await results.keep(FineTuningJobRow(id="ftjob-a", project="a"), [], also=also)

        assert await sweeps[0] == SweepReport(0, 0)
        assert len(await storage.keys()) == 1
