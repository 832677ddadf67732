"""`/v1/files`, through the official client and, for what that would not send, a plain one."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError, OpenAI

from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.services.api_keys import APIKeys
from openhearth.store.database import Database, sqlite_url
from tests.servers import RunningServer, make_settings, run_server

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
LINES = b'{"messages": [{"role": "user", "content": "hello"}]}\n'


@pytest.fixture(autouse=True)
def _no_files(client: OpenAI) -> Iterator[None]:
    """Leave no files to the next test."""
    yield
    for file in client.files.list():
        client.files.delete(file.id)


class TestCreate:
    """Uploading."""

    def test_a_file_is_uploaded_and_read_back(self, client: OpenAI) -> None:
        """The official client uploads a file, finds it again, and reads the very bytes back."""
        data = os.urandom(3_000_000)

        file = client.files.create(file=("data.bin", data), purpose="user_data")

        assert file.model_dump(exclude={"id", "created_at"}) == {
            "object": "file",
            "bytes": 3_000_000,
            "filename": "data.bin",
            "purpose": "user_data",
            "status": "processed",
            "expires_at": None,
            "status_details": None,
        }
        assert client.files.retrieve(file.id) == file
        assert client.files.content(file.id).read() == data

    def test_from_a_path(self, client: OpenAI, tmp_path: Path) -> None:
        """A path is uploaded under the name of its file."""
        path = tmp_path / "größe.jsonl"
        path.write_bytes(LINES)

        file = client.files.create(file=path, purpose="fine-tune")

        assert (file.filename, file.bytes) == ("größe.jsonl", len(LINES))

    def test_waiting_for_processing_returns_at_once(self, client: OpenAI) -> None:
        """The client's own waiting finds the file processed at its first look."""
        file = client.files.create(file=("train.jsonl", LINES), purpose="fine-tune")

        waited = client.files.wait_for_processing(file.id, poll_interval=0, max_wait_seconds=0)

        assert waited.status == "processed"

    @pytest.mark.parametrize(
        ("purpose", "name", "data"),
        [
            ("assistants", "notes.md", b"# Notes"),
            ("assistants", "upload", b"nameless"),
            ("batch", "data.jsonl", LINES),
            ("fine-tune", "data.jsonl", LINES),
            ("vision", "upload", PNG),
            ("user_data", "data.bin", b"\0"),
            ("evals", "data.jsonl", LINES),
        ],
    )
    def test_every_purpose(self, client: OpenAI, purpose: Any, name: str, data: bytes) -> None:
        """All purposes of the reference are taken; only batch files get a lifetime by themselves."""
        file = client.files.create(file=(name, data), purpose=purpose)

        assert file.purpose == purpose
        assert file.expires_at == (file.created_at + 2_592_000 if purpose == "batch" else None)

    def test_a_lifetime(self, client: OpenAI) -> None:
        """A lifetime goes over the wire in brackets and is kept."""
        file = client.files.create(
            file=("a.txt", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
        )

        assert file.expires_at == file.created_at + 3600

    @pytest.mark.parametrize(
        ("fields", "message", "param", "code"),
        [
            (
                {"purpose": "fun"},
                "'fun' is not one of ['assistants', 'batch', 'fine-tune', 'vision', 'user_data', 'evals'] - 'purpose'",
                "purpose",
                None,
            ),
            ({}, "Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter"),
            ({"purpose": "batch", "colour": "red"}, "Unknown parameter: 'colour'.", "colour", "unknown_parameter"),
            (
                {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
                "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, "
                "but got 3599 instead.",
                "expires_after.seconds",
                "integer_below_min_value",
            ),
            (
                {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"},
                "Invalid 'expires_after.seconds': integer above maximum value. Expected a value <= 2592000, "
                "but got 2592001 instead.",
                "expires_after.seconds",
                "integer_above_max_value",
            ),
            (
                {"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
                "Invalid value: 'now'. Supported values are: 'created_at'.",
                "expires_after.anchor",
                "invalid_value",
            ),
            (
                {"purpose": "batch", "expires_after[seconds]": "3600"},
                "Missing required parameter: 'expires_after.anchor'.",
                "expires_after.anchor",
                "missing_required_parameter",
            ),
            (
                {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
                "Invalid type for 'expires_after.seconds': expected an integer, but got a string instead.",
                "expires_after.seconds",
                "invalid_type",
            ),
            (
                {"purpose": "batch", "expires_after": "3600"},
                "Invalid type for 'expires_after': expected an object, but got a string instead.",
                "expires_after",
                "invalid_type",
            ),
        ],
    )
    def test_a_wrong_field_is_refused(
        self, http: httpx2.Client, client: OpenAI, fields: Any, message: str, param: str, code: str | None
    ) -> None:
        """What is wrong is named in the error object, and no file is made."""
        response = http.post("/v1/files", data=fields, files={"file": ("a.jsonl", b"{}")})

        assert response.status_code == 400
        expected = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        assert response.json() == {"error": expected}
        assert client.files.list().data == []

    def test_the_fields_may_follow_the_file(self, http: httpx2.Client) -> None:
        """The file may come first and what is said of it behind it."""
        body = (
            b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n'
            b'--xx\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--xx--\r\n'
        )

        response = http.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=xx"})

        assert response.status_code == 200
        assert (response.json()["bytes"], response.json()["purpose"]) == (2, "batch")

    def test_a_missing_file_is_named(self, http: httpx2.Client) -> None:
        """A form without a file is refused."""
        response = http.post("/v1/files", files={"purpose": (None, "batch")})

        assert response.status_code == 400
        assert response.json()["error"]["message"] == "Missing required parameter: 'file'."

    def test_another_body_is_refused(self, http: httpx2.Client) -> None:
        """A body that is no form is refused with a hint."""
        response = http.post("/v1/files", json={"purpose": "batch"})

        assert response.status_code == 400
        assert "multipart/form-data" in response.json()["error"]["message"]

    def test_a_broken_line_is_named(self, client: OpenAI) -> None:
        """A fine-tuning file with a broken line is refused in the service's words, with the line."""
        with pytest.raises(BadRequestError) as caught:
            client.files.create(file=("train.jsonl", LINES * 2 + b"{broken\n"), purpose="fine-tune")

        assert caught.value.body == {
            "message": "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
            "Line 3 is not valid JSON at column 2: unexpected character, expected a string key.",
            "type": "invalid_request_error",
            "param": "file",
            "code": None,
        }
        assert client.files.list().data == []

    def test_a_batch_file_must_be_called_jsonl(self, client: OpenAI) -> None:
        """A batch file under another name is refused in the service's words."""
        with pytest.raises(BadRequestError, match=r"Invalid file format for Batch API\. Must be \.jsonl"):
            client.files.create(file=("batch.json", LINES), purpose="batch")

    def test_an_extension_that_assistants_do_not_read(self, client: OpenAI) -> None:
        """A document of another format is refused in the service's words."""
        with pytest.raises(BadRequestError, match=r'Invalid extension vb\. Supported formats: "c", "cpp", ') as caught:
            client.files.create(file=("form.VB", b"Dim x"), purpose="assistants")

        assert (caught.value.type, caught.value.param, caught.value.code) == ("invalid_request_error", "file", None)

    def test_a_document_of_too_many_tokens(self, client: OpenAI) -> None:
        """Two million tokens of the server's text model are taken, here one for each byte, and not one more."""
        file = client.files.create(file=("long.txt", b"a word " * 285_714 + b"ab"), purpose="assistants")

        with pytest.raises(BadRequestError, match="may have 2000000 tokens at most") as caught:
            client.files.create(file=("longer.txt", b"a word " * 285_714 + b"abc"), purpose="assistants")

        assert file.bytes == 2_000_000
        assert (caught.value.type, caught.value.param, caught.value.code) == ("invalid_request_error", "file", None)

    def test_vision_takes_pictures(self, client: OpenAI) -> None:
        """What is no picture is no use for vision, whatever it is called."""
        with pytest.raises(BadRequestError, match="Must be a PNG, JPEG, GIF or WebP picture"):
            client.files.create(file=("picture.png", b"text"), purpose="vision")

    async def test_the_asynchronous_client(self, async_client: AsyncOpenAI) -> None:
        """The asynchronous client uploads, reads, lists and deletes."""
        file = await async_client.files.create(file=("a.txt", b"hello"), purpose="user_data")

        content = (await async_client.files.content(file.id)).read()
        listed = [item.id async for item in async_client.files.list()]
        deleted = await async_client.files.delete(file.id)

        assert (content, listed, deleted.deleted) == (b"hello", [file.id], True)


class TestList:
    """Listing."""

    def test_pages(self, client: OpenAI) -> None:
        """The client walks through pages of any size, newest first, or oldest first when asked."""
        ids = [client.files.create(file=(f"{n}.txt", b"x"), purpose="user_data").id for n in range(5)]

        newest_first = [file.id for file in client.files.list(limit=2)]
        oldest_first = [file.id for file in client.files.list(limit=2, order="asc")]
        page = client.files.list(limit=2, order="asc", after=ids[1])

        assert (newest_first, oldest_first) == (ids[::-1], ids)
        assert [file.id for file in page.data] == ids[2:4]
        assert page.has_more

    def test_the_envelope(self, client: OpenAI, http: httpx2.Client) -> None:
        """A page has its five members, and the ids of its ends."""
        ids = [client.files.create(file=("a.txt", b"x"), purpose="user_data").id for _ in range(2)]

        page = http.get("/v1/files").json()

        assert page.keys() == {"object", "data", "first_id", "last_id", "has_more"}
        assert (page["object"], page["first_id"], page["last_id"]) == ("list", ids[1], ids[0])
        assert page["has_more"] is False

    def test_by_purpose(self, client: OpenAI) -> None:
        """With a purpose, only files of that purpose come; one that no file has yet gives an empty page."""
        client.files.create(file=("a.txt", b"x"), purpose="user_data")
        batch = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")

        assert [file.id for file in client.files.list(purpose="batch")] == [batch.id]
        assert client.files.list(purpose="batch_output").data == []

    @pytest.mark.parametrize(
        ("query", "param"),
        [("limit=0", "limit"), ("limit=10001", "limit"), ("order=up", "order"), ("purpose=x", "purpose")],
    )
    def test_a_wrong_query_is_refused(self, http: httpx2.Client, query: str, param: str) -> None:
        """A limit out of range, an unknown order and an unknown purpose are refused by name."""
        response = http.get(f"/v1/files?{query}")

        assert (response.status_code, response.json()["error"]["param"]) == (400, param)

    def test_an_unknown_cursor_is_refused(self, client: OpenAI) -> None:
        """A page behind a file that is not there does not exist."""
        with pytest.raises(NotFoundError, match="No such File object: file-none") as caught:
            client.files.list(after="file-none")

        assert caught.value.param == "after"


class TestContent:
    """Reading back."""

    @pytest.fixture
    def file_id(self, client: OpenAI) -> str:
        """Return the id of a file with the digits in it."""
        return client.files.create(file=('my "größe".txt', b"0123456789"), purpose="user_data").id

    def test_the_headers(self, http: httpx2.Client, file_id: str) -> None:
        """A download says its length, its name and that ranges can be had."""
        response = http.get(f"/v1/files/{file_id}/content")

        assert response.content == b"0123456789"
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.headers["content-length"] == "10"
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["content-disposition"].startswith('attachment; filename="my ')
        assert "filename*=UTF-8''my%20" in response.headers["content-disposition"]

    @pytest.mark.parametrize(
        ("asked", "given", "content"),
        [
            ("bytes=2-4", "bytes 2-4/10", b"234"),
            ("bytes=7-", "bytes 7-9/10", b"789"),
            ("bytes=-1", "bytes 9-9/10", b"9"),
            ("bytes=0-99", "bytes 0-9/10", b"0123456789"),
        ],
    )
    def test_a_range(self, http: httpx2.Client, file_id: str, asked: str, given: str, content: bytes) -> None:
        """A range is answered with just these bytes."""
        response = http.get(f"/v1/files/{file_id}/content", headers={"range": asked})

        assert (response.status_code, response.content) == (206, content)
        assert (response.headers["content-range"], response.headers["content-length"]) == (given, str(len(content)))

    def test_a_range_behind_the_end(self, http: httpx2.Client, file_id: str) -> None:
        """A range of which nothing exists is refused with the size."""
        response = http.get(f"/v1/files/{file_id}/content", headers={"range": "bytes=10-"})

        assert (response.status_code, response.headers["content-range"]) == (416, "bytes */10")
        assert response.json()["error"]["type"] == "invalid_request_error"

    def test_if_range(self, http: httpx2.Client, file_id: str) -> None:
        """A download goes on where it broke off only if it is still the same content."""
        etag = http.get(f"/v1/files/{file_id}/content").headers["etag"]

        same = http.get(f"/v1/files/{file_id}/content", headers={"range": "bytes=5-", "if-range": etag})
        other = http.get(f"/v1/files/{file_id}/content", headers={"range": "bytes=5-", "if-range": '"other"'})

        assert (same.status_code, same.content) == (206, b"56789")
        assert (other.status_code, other.content) == (200, b"0123456789")

    def test_some_purposes_are_not_read_back(self, client: OpenAI) -> None:
        """A file for assistants is not given back, in the service's words."""
        file = client.files.create(file=("a.txt", b"x"), purpose="assistants")

        with pytest.raises(BadRequestError, match="Not allowed to download files of purpose: assistants") as caught:
            client.files.content(file.id)

        assert (caught.value.param, caught.value.code) == (None, None)

    def test_deleting_lets_the_reader_finish(self, client: OpenAI, http: httpx2.Client) -> None:
        """Who has begun to read reads to the end, though the file is deleted meanwhile."""
        data = os.urandom(20_000_000)
        file = client.files.create(file=("a.bin", data), purpose="user_data")

        with http.stream("GET", f"/v1/files/{file.id}/content") as response:
            chunks = response.iter_bytes()
            read = [next(chunks)]
            client.files.delete(file.id)
            read += chunks

        assert b"".join(read) == data
        with pytest.raises(NotFoundError):
            client.files.content(file.id)


class TestNotFound:
    """Files that are not there."""

    def test_an_unknown_file(self, client: OpenAI) -> None:
        """Retrieving, reading and deleting an unknown file fail alike."""
        for call in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(NotFoundError) as caught:
                call("file-none")

            assert caught.value.body == {
                "message": "No such File object: file-none",
                "type": "invalid_request_error",
                "param": "id",
                "code": None,
            }

    def test_a_deleted_file(self, client: OpenAI) -> None:
        """A deleted file is as unknown as one that never was; waiting for it ends."""
        file = client.files.create(file=("a.txt", b"x"), purpose="user_data")

        deleted = client.files.delete(file.id)

        assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
        with pytest.raises(NotFoundError):
            client.files.retrieve(file.id)


class TestLimits:
    """What a server takes, and from whom."""

    def test_sizes_and_quota(self, tmp_path: Path) -> None:
        """Too large a file is a 413, too much for the project a 507 that is not tried again; then others still fit."""
        settings = make_settings(tmp_path, max_file_bytes=100_000, max_project_bytes=150_000)
        with run_server(settings, FakeTextEngine()) as server, server.client(max_retries=2) as client:
            with pytest.raises(Exception, match="/v1/uploads") as too_large:
                client.files.create(file=("a.bin", b"x" * 100_001), purpose="user_data")
            client.files.create(file=("a.bin", b"x" * 100_000), purpose="user_data")
            with pytest.raises(InternalServerError, match="no room") as no_room:
                client.files.create(file=("a.bin", b"x" * 50_001), purpose="user_data")
            client.files.create(file=("a.bin", b"x" * 50_000), purpose="user_data")

            assert too_large.value.status_code == 413  # type: ignore[attr-defined]
            assert no_room.value.status_code == 507
            assert no_room.value.response.headers["x-should-retry"] == "false"
            assert len(list((settings.home / "blobs").iterdir())) == 2

    async def test_projects_do_not_see_each_other(self, tmp_path: Path) -> None:
        """The key decides on the project, and the files of another project do not exist."""
        settings = make_settings(tmp_path)
        database = Database(sqlite_url(settings.home / "openhearth.db"))
        await database.migrate()
        keys = APIKeys(database, is_open=False)
        first, second = [await keys.create(name, project=name) for name in ("one", "two")]
        await database.close()
        with run_server(settings, FakeTextEngine()) as server:
            one, two = server.client(api_key=first), server.client(api_key=second)
            file = one.files.create(file=("a.txt", b"x"), purpose="user_data")

            for call in (two.files.retrieve, two.files.content, two.files.delete):
                with pytest.raises(NotFoundError, match=f"No such File object: {file.id}"):
                    call(file.id)
            assert two.files.list().data == []
            assert one.files.content(file.id).read() == b"x"
            one.close()
            two.close()

    def test_a_broken_connection_leaves_nothing(self, server: RunningServer, client: OpenAI) -> None:
        """A client that goes away in the middle of its file leaves neither a row nor a blob."""

        def half() -> Iterator[bytes]:
            yield b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 5_000_000
            raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError), httpx2.Client(base_url=server.url) as http:
            http.post("/v1/files", content=half(), headers={"content-type": "multipart/form-data; boundary=xx"})

        kept = client.files.create(file=("b.txt", b"x"), purpose="user_data")
        assert [file.id for file in client.files.list()] == [kept.id]
        assert _settled(server.settings.home / "blobs") == [kept.id]


def _settled(folder: Path) -> list[str]:
    """Return the names in a folder, once no temporary file is among them."""
    while any(path.suffix == ".partial" for path in folder.iterdir()):
        pass
    return sorted(path.name for path in folder.iterdir())
