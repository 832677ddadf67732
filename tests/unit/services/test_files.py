"""Files, as their service keeps them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth.errors import APIError, BadRequestError, InsufficientStorageError, NotFoundError, RequestTooLargeError
from openhearth.schemas.files import FilePurpose
from openhearth.services.file_intake import FileDescription
from openhearth.store.database import Database
from tests.storage import IncomingFile, Storage, open_storage

DAY = 24 * 3600


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    """Return empty storage."""
    async with open_storage(tmp_path) as storage:
        yield storage


class TestCreate:
    """Taking files in."""

    async def test_a_file_is_described_as_it_was_sent(self, storage: Storage) -> None:
        """The file object tells the size, the name and the purpose; it is processed at once."""
        file = await storage.files.create("a", IncomingFile(b"hello", filename="../../etc/passwd"))

        assert file.model_dump(exclude={"id"}) == {
            "object": "file",
            "bytes": 5,
            "created_at": 1_700_000_000,
            "expires_at": None,
            "filename": "../../etc/passwd",
            "purpose": "user_data",
            "status": "processed",
            "status_details": None,
        }
        assert file.id.startswith("file-")
        assert await storage.files.retrieve("a", file.id) == file

    @pytest.mark.parametrize("data", [b"", b"x" * 123_456])
    async def test_the_content_comes_back(self, storage: Storage, data: bytes) -> None:
        """What was sent is read back, and is known by its SHA-256."""
        file = await storage.files.create("a", IncomingFile(data))

        assert await storage.content("a", file.id) == data
        assert (await storage.files.content("a", file.id)).sha256 == hashlib.sha256(data).hexdigest()

    async def test_a_file_may_expire(self, storage: Storage) -> None:
        """A file with a lifetime goes that many seconds after the second in which it was made."""
        file = await storage.files.create("a", IncomingFile(b"x", expires_after_seconds=3600))

        assert file.expires_at == file.created_at + 3600

    async def test_batch_files_expire_after_thirty_days(self, storage: Storage) -> None:
        """A batch file that says nothing of a lifetime has thirty days."""
        file = await storage.files.create("a", IncomingFile(b"{}", purpose="batch", filename="in.JSONL"))

        assert file.expires_at == file.created_at + 30 * DAY

    async def test_too_large_a_file_leaves_nothing(self, tmp_path: Path) -> None:
        """A file of exactly the limit is taken; one byte more is refused, with a hint at uploads."""
        async with open_storage(tmp_path, max_file_bytes=1000) as storage:
            file = await storage.files.create("a", IncomingFile(b"x" * 1000))
            with pytest.raises(RequestTooLargeError, match="/v1/uploads"):
                await storage.files.create("a", IncomingFile(b"x" * 1001))

            assert await storage.keys() == [file.id]

    async def test_a_broken_connection_leaves_nothing(self, storage: Storage) -> None:
        """When the content breaks off, there is neither a row nor a blob."""

        class Breaking(IncomingFile):
            async def content(self) -> AsyncIterator[bytes]:
                yield b"half"
                raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            await storage.files.create("a", Breaking(b""))

        assert (await storage.files.list("a")).data == []
        assert await storage.keys() == []

    async def test_a_bad_description_leaves_nothing(self, storage: Storage) -> None:
        """When what stands behind the content is wrong, the content is taken back."""

        class Nameless(IncomingFile):
            def description(self) -> FileDescription:
                raise BadRequestError("no purpose")

        with pytest.raises(BadRequestError, match="no purpose"):
            await storage.files.create("a", Nameless(b"x"))

        assert await storage.keys() == []

    async def test_a_failed_commit_leaves_nothing(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the row cannot be written, the content is taken back."""

        def full(_database: Database) -> None:
            raise InsufficientStorageError("The server's disk is full.")

        monkeypatch.setattr(Database, "transaction", full)
        with pytest.raises(InsufficientStorageError):
            await storage.files.create("a", IncomingFile(b"x"))

        assert await storage.keys() == []

    async def test_cancelling_during_the_commit_keeps_row_and_blob_together(self, storage: Storage) -> None:
        """A caller that goes away while the row is written leaves either both or nothing."""
        for delay in range(12):
            creating = asyncio.create_task(storage.files.create("a", IncomingFile(b"x")))
            for _ in range(delay * 4):
                await asyncio.sleep(0.0005)
            creating.cancel()
            await asyncio.gather(creating, return_exceptions=True)
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))  # commits that still go on

        assert await storage.keys() == sorted(file.id for file in (await storage.files.list("a")).data)


class TestFormats:
    """What a purpose asks of the content."""

    @pytest.mark.parametrize(
        "data", [b'{"a": 1}', b'{"a": 1}\n{"b": "\\u00e9"}\n', b"{}\r\n{}\r\n\r\n\n", '{"ä": "ö"}\n'.encode()]
    )
    async def test_jsonl_is_taken_for_fine_tuning(self, storage: Storage, data: bytes) -> None:
        """Lines that are JSON objects are taken, with either line end, whatever the name of the file."""
        file = await storage.files.create("a", IncomingFile(data, purpose="fine-tune", filename="upload"))

        assert file.status == "processed"

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            (b"", "The file is empty."),
            (b"\n\n", "The file is empty."),
            (b'{"a": 1}\n[1]\n{}', "Line 2 is not a dictionary."),
            (b'{"a": 1}\n{}\n{"a": nope}\n', "Line 3 is not valid JSON at column "),
            (b"{}\n \n{}", "Line 2 is blank."),
            (b'{}\n"\xff"', "Line 2 is not valid JSON at column "),
            (b'{"a": NaN}', "Line 1 is not valid JSON at column "),
            (b"[" * 100_000, "Line 1 is not valid JSON at column "),
            (b"\x89PNG\r\n\x1a\n", "Line 1 is not valid JSON at column "),
        ],
    )
    async def test_a_broken_line_is_named(self, storage: Storage, data: bytes, problem: str) -> None:
        """Content that is not JSONL is refused with the number of the first broken line, and nothing is kept."""
        with pytest.raises(BadRequestError) as caught:
            await storage.files.create("a", IncomingFile(data, purpose="fine-tune", filename="data.jsonl"))

        expected = "Expected file to have JSONL format, where every line is a valid JSON dictionary. " + problem
        assert caught.value.message.startswith(expected)
        assert await storage.keys() == []

    async def test_a_line_has_a_longest_length(self, tmp_path: Path) -> None:
        """A line that would not fit into memory is refused, however the pieces fall."""
        async with open_storage(tmp_path, max_file_bytes=2**26, max_project_bytes=2**30) as storage:
            data = b'{}\n{"a": "' + b"x" * (16 * 2**20) + b'"}\n'
            with pytest.raises(BadRequestError, match="Line 2 is longer than 16777216 bytes"):
                await storage.files.create("a", IncomingFile(data, purpose="fine-tune"))

            assert await storage.keys() == []

    async def test_a_batch_file_is_known_by_its_name(self, storage: Storage) -> None:
        """A batch file must be called .jsonl; its lines are looked at when the batch is made, not before."""
        with pytest.raises(BadRequestError) as caught:
            await storage.files.create("a", IncomingFile(b"{}", purpose="batch", filename="in.json"))
        file = await storage.files.create("a", IncomingFile(b"not json", purpose="batch", filename="in.jsonl"))

        assert caught.value.message == "Invalid file format for Batch API. Must be .jsonl"
        assert file.status == "processed"

    async def test_a_batch_file_has_its_own_limit(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch file above its own limit is refused, though other files of that size are taken."""
        monkeypatch.setattr("openhearth.services.file_formats.MAX_BATCH_FILE_BYTES", 10)
        await storage.files.create("a", IncomingFile(b"x" * 11))
        with pytest.raises(RequestTooLargeError, match="Batch API"):
            await storage.files.create("a", IncomingFile(b"x" * 11, purpose="batch", filename="in.jsonl"))

        assert len(await storage.keys()) == 1


class TestQuota:
    """How much a project may store."""

    async def test_a_project_has_a_quota(self, tmp_path: Path) -> None:
        """A project may store up to its quota and no more; another project has its own."""
        async with open_storage(tmp_path, max_project_bytes=1000) as storage:
            kept = await storage.files.create("a", IncomingFile(b"x" * 1000))
            with pytest.raises(InsufficientStorageError, match="Project 'a' may store 1000 bytes"):
                await storage.files.create("a", IncomingFile(b"x"))
            other = await storage.files.create("b", IncomingFile(b"x" * 1000))

            assert await storage.keys() == sorted([kept.id, other.id])

    async def test_deleting_makes_room(self, tmp_path: Path) -> None:
        """What was deleted no longer counts."""
        async with open_storage(tmp_path, max_project_bytes=1000) as storage:
            first = await storage.files.create("a", IncomingFile(b"x" * 1000))
            await storage.files.delete("a", first.id)

            second = await storage.files.create("a", IncomingFile(b"y" * 1000))

            assert await storage.keys() == [second.id]

    async def test_files_that_arrive_together_cannot_outgrow_it(self, tmp_path: Path) -> None:
        """Of two files that arrive at the same time and fit only one by one, one is taken."""
        async with open_storage(tmp_path, max_project_bytes=1000) as storage:
            results = await asyncio.gather(
                *(storage.files.create("a", IncomingFile(b"x" * 600)) for _ in range(4)), return_exceptions=True
            )

            failures = [result for result in results if isinstance(result, InsufficientStorageError)]
            assert len(failures) == 3
            assert len(await storage.keys()) == 1


class TestProjects:
    """To a project, the files of another do not exist."""

    async def test_a_stranger_finds_nothing(self, storage: Storage) -> None:
        """Another project cannot retrieve, read, delete, list or page from a file."""
        file = await storage.files.create("a", IncomingFile(b"x"))

        for call in (
            storage.files.retrieve("b", file.id),
            storage.files.content("b", file.id),
            storage.files.delete("b", file.id),
            storage.files.list("b", after=file.id),
        ):
            with pytest.raises(NotFoundError, match=f"No such File object: {file.id}"):
                await call
        assert (await storage.files.list("b")).data == []
        assert await storage.content("a", file.id) == b"x"


class TestList:
    """Paging through files."""

    async def create(self, storage: Storage, num_files: int, purpose: FilePurpose = "user_data") -> list[str]:
        """Make files, two in each second, and return their ids, oldest first."""
        ids = []
        for number in range(num_files):
            storage.clock.time += 0.5
            ids.append((await storage.files.create("a", IncomingFile(b"{}", purpose, f"{number}.jsonl"))).id)
        return ids

    async def test_newest_first(self, storage: Storage) -> None:
        """Files come newest first, those of the same second too, unless asked for in ascending order."""
        ids = await self.create(storage, 5)

        descending = await storage.files.list("a")
        ascending = await storage.files.list("a", order="asc")

        assert [file.id for file in descending.data] == ids[::-1]
        assert [file.id for file in ascending.data] == ids
        assert (ascending.first_id, ascending.last_id, ascending.has_more) == (ids[0], ids[-1], False)

    @pytest.mark.parametrize("order", ["asc", "desc"])
    @pytest.mark.parametrize("moves", [True, False])
    async def test_pages_join_without_a_seam(self, storage: Storage, order: str, moves: bool) -> None:
        """Page by page, every file comes once and in order, even if all were made at the same instant."""
        ids = []
        for number in range(7):
            storage.clock.time += moves
            ids.append((await storage.files.create("a", IncomingFile(b"x", filename=str(number)))).id)
        whole = [file.id for file in (await storage.files.list("a", order=order)).data]  # type: ignore[arg-type]

        seen: list[str] = []
        has_more = True
        while has_more:
            after = seen[-1] if seen else None
            page = await storage.files.list("a", order=order, after=after, limit=3)  # type: ignore[arg-type]
            seen += [file.id for file in page.data]
            has_more = page.has_more

        assert seen == whole
        assert sorted(seen) == sorted(ids)

    async def test_by_purpose(self, storage: Storage) -> None:
        """With a purpose, only files of that purpose come."""
        await self.create(storage, 2)
        batch = await self.create(storage, 2, "batch")

        page = await storage.files.list("a", purpose="batch", limit=1)

        assert [file.id for file in page.data] == [batch[1]]
        assert page.has_more

    async def test_an_empty_page(self, storage: Storage) -> None:
        """Without files, the page is empty, without ids, and nothing follows."""
        page = await storage.files.list("a")

        assert (page.data, page.first_id, page.last_id, page.has_more) == ([], None, None, False)


class TestContentAndDelete:
    """Reading and deleting."""

    async def test_assistants_files_are_not_read_back(self, storage: Storage) -> None:
        """The content of a file for assistants is refused in the service's words."""
        file = await storage.files.create("a", IncomingFile(b"x", purpose="assistants"))

        with pytest.raises(BadRequestError) as caught:
            await storage.files.content("a", file.id)

        assert caught.value.message == "Not allowed to download files of purpose: assistants"
        assert (caught.value.param, caught.value.code) == (None, None)

    async def test_a_deleted_file_is_gone(self, storage: Storage) -> None:
        """Deleting answers with the id; afterwards the file is not found and its content is removed."""
        file = await storage.files.create("a", IncomingFile(b"x"))

        deleted = await storage.files.delete("a", file.id)

        assert deleted.model_dump() == {"id": file.id, "object": "file", "deleted": True}
        assert await storage.keys() == []
        for call in (storage.files.retrieve("a", file.id), storage.files.delete("a", file.id)):
            with pytest.raises(NotFoundError):
                await call

    async def test_deleting_between_asking_and_opening(self, storage: Storage) -> None:
        """A file that is deleted after it was found and before it was opened is not found."""
        content = await storage.files.content("a", (await storage.files.create("a", IncomingFile(b"x"))).id)
        await storage.files.delete("a", (await storage.files.list("a")).data[0].id)

        with pytest.raises(NotFoundError):
            await content.open()


class TestExpiry:
    """Files that go by themselves."""

    async def test_an_expired_file_is_not_found(self, storage: Storage) -> None:
        """From the second in which it expires a file is not there, even before housekeeping has come by."""
        file = await storage.files.create("a", IncomingFile(b"x", expires_after_seconds=3600))
        assert file.expires_at is not None

        storage.clock.time = file.expires_at - 0.01
        before = await storage.files.list("a")
        storage.clock.time = file.expires_at
        after = await storage.files.list("a")

        assert ([item.id for item in before.data], after.data) == ([file.id], [])
        for call in (storage.files.retrieve, storage.files.content, storage.files.delete):
            with pytest.raises(APIError, match="No such File object"):
                await call("a", file.id)

    async def test_housekeeping_removes_it(self, storage: Storage) -> None:
        """Housekeeping removes the row and the content of what has expired, and nothing else."""
        lasting = await storage.files.create("a", IncomingFile(b"x"))
        later = await storage.files.create("a", IncomingFile(b"x", expires_after_seconds=7200))
        await storage.files.create("b", IncomingFile(b"x", expires_after_seconds=3600))

        storage.clock.time += 3600
        num_expired = await storage.housekeeping.expire()

        assert num_expired == 1
        assert await storage.keys() == sorted([lasting.id, later.id])
