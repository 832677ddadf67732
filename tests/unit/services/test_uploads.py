"""Uploads, as their service keeps them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from openhearth.errors import BadRequestError, InsufficientStorageError, NotFoundError, RequestTooLargeError
from openhearth.schemas.uploads import CompleteUploadRequest, CreateUploadRequest, Upload
from tests.storage import IncomingFile, Storage, open_storage


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    """Return empty storage."""
    async with open_storage(tmp_path) as storage:
        yield storage


async def announce(storage: Storage, num_bytes: int, **members: Any) -> Upload:
    """Create an upload of project `a`."""
    body = {"filename": "notes.txt", "purpose": "user_data", "bytes": num_bytes, "mime_type": "text/plain"} | members
    return await storage.uploads.create("a", CreateUploadRequest.model_validate(body))


async def add(storage: Storage, upload: Upload, data: bytes) -> str:
    """Add a part and return its id."""
    return (await storage.uploads.add_part("a", upload.id, IncomingFile(data).content())).id


async def complete(storage: Storage, upload: Upload, part_ids: Sequence[str], md5: str | None = None) -> Upload:
    """Complete an upload."""
    return await storage.uploads.complete("a", upload.id, CompleteUploadRequest(part_ids=list(part_ids), md5=md5))


class TestCreate:
    """Announcing."""

    async def test_an_upload_is_pending_for_an_hour(self, storage: Storage) -> None:
        """The upload object repeats what was announced, and has an hour."""
        upload = await announce(storage, 7)

        assert upload.id.startswith("upload_")
        assert upload.model_dump(exclude={"id"}) == {
            "object": "upload",
            "bytes": 7,
            "created_at": 1_700_000_000,
            "expires_at": 1_700_003_600,
            "filename": "notes.txt",
            "purpose": "user_data",
            "status": "pending",
            "file": None,
        }

    async def test_an_upload_has_a_largest_size(self, storage: Storage) -> None:
        """More bytes than the server takes are refused when they are announced."""
        await announce(storage, 10_000_000)

        with pytest.raises(BadRequestError, match="Expected a value <= 10000000, but got 10000001") as caught:
            await announce(storage, 10_000_001)

        assert (caught.value.param, caught.value.code) == ("bytes", "integer_above_max_value")

    @pytest.mark.parametrize("purpose", ["fine-tune", "batch"])
    async def test_the_mime_type_must_suit_the_purpose(self, storage: Storage, purpose: str) -> None:
        """A file that has to be JSONL cannot be announced as something else."""
        await announce(storage, 1, purpose=purpose, filename="a.jsonl", mime_type="text/jsonl")

        with pytest.raises(BadRequestError) as caught:
            await announce(storage, 1, purpose=purpose, filename="a.jsonl", mime_type="image/png")

        assert (caught.value.param, caught.value.code) == ("mime_type", "invalid_value")

    async def test_a_batch_must_be_jsonl_and_small(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        """The rules for batch files hold for what is announced too."""
        monkeypatch.setattr("openhearth.services.file_formats.MAX_BATCH_FILE_BYTES", 10)

        with pytest.raises(BadRequestError, match=r"Must be \.jsonl"):
            await announce(storage, 1, purpose="batch", filename="a.json", mime_type="text/jsonl")
        with pytest.raises(RequestTooLargeError):
            await announce(storage, 11, purpose="batch", filename="a.jsonl", mime_type="text/jsonl")


class TestParts:
    """Sending parts."""

    async def test_a_part_is_limited(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        """A part of exactly the limit is taken, one byte more is not, and leaves nothing."""
        monkeypatch.setattr("openhearth.services.uploads.MAX_PART_BYTES", 1000)
        upload = await announce(storage, 1000)
        part_id = await add(storage, upload, b"x" * 1000)

        with pytest.raises(RequestTooLargeError):
            await add(storage, upload, b"x" * 1001)

        assert await storage.keys() == [part_id]

    async def test_parts_count_towards_the_quota(self, tmp_path: Path) -> None:
        """What parts take up is part of what the project may store, also when they arrive together."""
        async with open_storage(tmp_path, max_project_bytes=1000) as storage:
            upload = await announce(storage, 2000)
            results = await asyncio.gather(
                *(add(storage, upload, b"x" * 600) for _ in range(3)), return_exceptions=True
            )

            assert sum(isinstance(result, InsufficientStorageError) for result in results) == 2
            assert len(await storage.keys()) == 1

    async def test_an_unknown_upload_takes_no_parts(self, storage: Storage) -> None:
        """A part for an upload that is not there, or another project's, is refused unread."""
        upload = await announce(storage, 4)
        unread = IncomingFile(b"data").content()

        for project, upload_id in (("a", "upload_none"), ("b", upload.id)):
            with pytest.raises(NotFoundError, match=f"No such Upload object: {upload_id}"):
                await storage.uploads.add_part(project, upload_id, unread)

        assert await anext(unread) == b"data"
        assert await storage.keys() == []


class TestComplete:
    """Making a file of the parts."""

    async def test_the_order_is_that_of_part_ids(self, storage: Storage) -> None:
        """Parts that arrive in any order, at the same time, become a file in the order of the request."""
        upload = await announce(storage, 6)
        last, first, middle = await asyncio.gather(*(add(storage, upload, data) for data in (b"ef", b"ab", b"cd")))

        completed = await complete(storage, upload, [first, middle, last])

        assert completed.status == "completed"
        assert completed.file is not None
        assert (completed.file.bytes, completed.file.filename, completed.file.status) == (6, "notes.txt", "processed")
        assert await storage.content("a", completed.file.id) == b"abcdef"
        assert await storage.files.retrieve("a", completed.file.id) == completed.file
        assert await storage.keys() == [completed.file.id]

    async def test_the_quota_counts_the_bytes_once(self, tmp_path: Path) -> None:
        """An upload that fills the quota can be completed, though its parts stand beside the file for a moment."""
        async with open_storage(tmp_path, max_project_bytes=1000) as storage:
            upload = await announce(storage, 1000)

            completed = await complete(storage, upload, [await add(storage, upload, b"x" * 1000)])

            assert completed.status == "completed"

    async def test_an_empty_file(self, storage: Storage) -> None:
        """An upload of no bytes is completed without parts."""
        completed = await complete(storage, await announce(storage, 0), [])

        assert completed.file is not None
        assert await storage.content("a", completed.file.id) == b""

    async def test_unused_parts_are_discarded(self, storage: Storage) -> None:
        """Parts that are not named do not become part of the file, and do not stay."""
        upload = await announce(storage, 2)
        await add(storage, upload, b"unused")
        used = await add(storage, upload, b"ab")

        completed = await complete(storage, upload, [used])

        assert completed.file is not None
        assert await storage.keys() == [completed.file.id]

    async def test_the_md5_is_verified(self, storage: Storage) -> None:
        """A wrong MD5 is refused and leaves the upload pending; the right one, in either case, completes it."""
        upload = await announce(storage, 4)
        part_ids = [await add(storage, upload, b"ab"), await add(storage, upload, b"cd")]
        md5 = hashlib.md5(b"abcd", usedforsecurity=False).hexdigest()

        with pytest.raises(BadRequestError, match=md5) as caught:
            await complete(storage, upload, part_ids, "0" * 32)
        assert await storage.keys() == sorted(part_ids)
        completed = await complete(storage, upload, part_ids, md5.upper())

        assert caught.value.param == "md5"
        assert completed.status == "completed"

    @pytest.mark.parametrize("choose", [lambda ids: ids[:1], lambda ids: [*ids, ids[0]], lambda ids: [*ids, "part_x"]])
    async def test_the_parts_must_make_the_whole(self, storage: Storage, choose: Any) -> None:
        """Too few bytes, a part named twice and an unknown part are refused, and the upload stays pending."""
        upload = await announce(storage, 4)
        part_ids = [await add(storage, upload, b"ab"), await add(storage, upload, b"cd")]

        with pytest.raises(BadRequestError) as caught:
            await complete(storage, upload, choose(part_ids))

        assert (caught.value.param, caught.value.code) == ("part_ids", "invalid_value")
        assert (await complete(storage, upload, part_ids)).status == "completed"

    async def test_the_parts_of_another_upload_are_unknown(self, storage: Storage) -> None:
        """A part belongs to the upload it was sent to."""
        upload, other = await announce(storage, 2), await announce(storage, 2)
        part_id = await add(storage, other, b"ab")

        with pytest.raises(BadRequestError, match=part_id):
            await complete(storage, upload, [part_id])

    async def test_the_format_is_checked(self, storage: Storage) -> None:
        """A file that is to be JSONL is checked like one that came whole, across the seams of its parts."""
        upload = await announce(storage, 12, purpose="fine-tune", mime_type="text/jsonl")
        good = [await add(storage, upload, data) for data in (b'{"a', b'": 1}\n', b"{}\n")]
        broken = await add(storage, upload, b"[]\n")

        with pytest.raises(BadRequestError, match="Line 2 is not a dictionary"):
            await complete(storage, upload, [*good[:2], broken])
        completed = await complete(storage, upload, good)

        assert completed.file is not None
        assert completed.file.purpose == "fine-tune"

    async def test_the_file_has_the_lifetime_that_was_announced(self, storage: Storage) -> None:
        """The lifetime of the file counts from when the file is made."""
        upload = await announce(storage, 0, expires_after={"anchor": "created_at", "seconds": 3600})
        storage.clock.time += 100

        completed = await complete(storage, upload, [])

        assert completed.file is not None
        assert completed.file.expires_at == 1_700_000_100 + 3600

    async def test_only_one_completion_wins(self, storage: Storage) -> None:
        """Of two completions at the same time one makes a file, and the other leaves nothing."""
        upload = await announce(storage, 2)
        part_ids = [await add(storage, upload, b"ab")]

        results = await asyncio.gather(*(complete(storage, upload, part_ids) for _ in range(2)), return_exceptions=True)

        completed = [result for result in results if isinstance(result, Upload)]
        refused = [result for result in results if isinstance(result, BadRequestError)]
        assert (len(completed), len(refused)) == (1, 1)
        assert completed[0].file is not None
        assert await storage.keys() == [completed[0].file.id]


class TestEnded:
    """Uploads that are over."""

    async def test_cancelling_discards_the_parts(self, storage: Storage) -> None:
        """A cancelled upload says so, and its parts are gone."""
        upload = await announce(storage, 2)
        await add(storage, upload, b"ab")

        cancelled = await storage.uploads.cancel("a", upload.id)

        assert (cancelled.status, cancelled.file) == ("cancelled", None)
        assert await storage.keys() == []

    async def test_an_hour_and_no_longer(self, storage: Storage) -> None:
        """After an hour an upload has expired, whether housekeeping has come by or not; then its parts go."""
        upload = await announce(storage, 2)
        await add(storage, upload, b"ab")
        storage.clock.time = upload.expires_at

        with pytest.raises(BadRequestError, match="is expired"):
            await add(storage, upload, b"cd")
        num_expired = await storage.housekeeping.expire()

        assert num_expired == 1
        assert await storage.keys() == []
        with pytest.raises(BadRequestError, match="is expired"):
            await complete(storage, upload, [])

    @pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
    async def test_what_has_ended_stays_so(self, storage: Storage, end: str) -> None:
        """An upload that has ended takes no parts and can be neither completed nor cancelled; nothing is left of it."""
        upload = await announce(storage, 0)
        if end == "completed":
            completed = await complete(storage, upload, [])
            assert completed.file is not None
            await storage.files.delete("a", completed.file.id)
        elif end == "cancelled":
            await storage.uploads.cancel("a", upload.id)
        else:
            storage.clock.time += 3600

        for call in (add(storage, upload, b"x"), complete(storage, upload, []), storage.uploads.cancel("a", upload.id)):
            with pytest.raises(BadRequestError, match=f"{upload.id} is {end}") as caught:
                await call
            assert (caught.value.param, caught.value.code) == (None, None)
        assert await storage.keys() == []

    async def test_cancelling_while_a_part_comes_in(self, storage: Storage) -> None:
        """A part that arrives completely only after its upload was cancelled is refused and leaves nothing."""
        upload = await announce(storage, 4)

        async def content() -> AsyncIterator[bytes]:
            yield b"ab"
            await storage.uploads.cancel("a", upload.id)
            yield b"cd"

        with pytest.raises(BadRequestError, match="is cancelled"):
            await storage.uploads.add_part("a", upload.id, content())

        assert await storage.keys() == []

    async def test_cancelling_while_the_parts_are_joined(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An upload that is cancelled while it is being completed makes no file."""
        upload = await announce(storage, 4)
        part_ids = [await add(storage, upload, b"ab"), await add(storage, upload, b"cd")]
        open_part, num_opened = storage.blobs.open, 0

        async def open_and_cancel(key: str) -> Any:
            nonlocal num_opened
            num_opened += 1
            if num_opened == 2:
                await storage.uploads.cancel("a", upload.id)
            return await open_part(key)

        monkeypatch.setattr(storage.blobs, "open", open_and_cancel)
        with pytest.raises(BadRequestError, match="no longer pending"):
            await complete(storage, upload, part_ids)

        assert await storage.keys() == []
        assert (await storage.files.list("a")).data == []
