"""`/v1/uploads`, through the official client and, for what that would not send, a plain one."""

import asyncio
import hashlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from tests.servers import RunningServer


def test_a_file_in_parts(client: OpenAI) -> None:
    """The client announces a file, sends its parts, completes it, and reads the file back."""
    upload = client.uploads.create(filename="train.jsonl", purpose="fine-tune", bytes=8, mime_type="text/jsonl")
    second = client.uploads.parts.create(upload.id, data=b"{}\n")
    first = client.uploads.parts.create(upload.id, data=b'{"a"')
    middle = client.uploads.parts.create(upload.id, data=b"\n")
    client.uploads.parts.create(upload.id, data=b"never used")

    with pytest.raises(BadRequestError, match="Line 1 is not valid JSON"):
        client.uploads.complete(upload.id, part_ids=[first.id, middle.id, second.id])
    last = client.uploads.parts.create(upload.id, data=b":1}\n")
    completed = client.uploads.complete(upload.id, part_ids=[first.id, last.id])

    assert (upload.status, upload.object, upload.expires_at) == ("pending", "upload", upload.created_at + 3600)
    assert (first.object, first.upload_id) == ("upload.part", upload.id)
    assert (completed.id, completed.status) == (upload.id, "completed")
    assert completed.file is not None
    assert client.files.retrieve(completed.file.id) == completed.file
    assert client.files.wait_for_processing(completed.file.id, max_wait_seconds=0).status == "processed"
    assert client.files.content(completed.file.id).read() == b'{"a":1}\n'
    client.files.delete(completed.file.id)


def test_the_client_cuts_a_file_by_itself(client: OpenAI, tmp_path: Path) -> None:
    """The client's helper sends a file on the disk in chunks and gives its MD5."""
    data = os.urandom(5_000_000)
    path = tmp_path / "data.bin"
    path.write_bytes(data)

    completed = client.uploads.upload_file_chunked(
        file=path,
        mime_type="application/octet-stream",
        purpose="user_data",
        part_size=1_000_000,
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
    )

    assert completed.file is not None
    assert (completed.file.filename, completed.file.bytes) == ("data.bin", len(data))
    assert client.files.content(completed.file.id).read() == data
    client.files.delete(completed.file.id)


async def test_parts_at_the_same_time(async_client: AsyncOpenAI) -> None:
    """Parts that arrive together, in any order, are put together as `part_ids` says."""
    pieces = [os.urandom(300_000) for _ in range(8)]
    upload = await async_client.uploads.create(
        filename="x.bin", purpose="user_data", bytes=2_400_000, mime_type="application/octet-stream"
    )

    parts = await asyncio.gather(*(async_client.uploads.parts.create(upload.id, data=piece) for piece in pieces))
    completed = await async_client.uploads.complete(upload.id, part_ids=[part.id for part in parts[::-1]])

    assert completed.file is not None
    content = (await async_client.files.content(completed.file.id)).read()
    assert content == b"".join(pieces[::-1])
    await async_client.files.delete(completed.file.id)


def test_cancelling(client: OpenAI, server: RunningServer) -> None:
    """A cancelled upload takes no parts, cannot be completed or cancelled again, and leaves nothing on the disk."""
    upload = client.uploads.create(filename="x", purpose="user_data", bytes=4, mime_type="text/plain")
    part = client.uploads.parts.create(upload.id, data=b"data")

    cancelled = client.uploads.cancel(upload.id)

    assert (cancelled.status, cancelled.file) == ("cancelled", None)
    assert not (server.settings.home / "blobs" / part.id).exists()
    for call in (
        lambda: client.uploads.parts.create(upload.id, data=b"data"),
        lambda: client.uploads.complete(upload.id, part_ids=[part.id]),
        lambda: client.uploads.cancel(upload.id),
    ):
        with pytest.raises(BadRequestError, match=f"Upload {upload.id} is cancelled"):
            call()


def test_after_an_hour(client: OpenAI, server: RunningServer) -> None:
    """An upload whose hour has passed takes no more parts."""
    upload = client.uploads.create(filename="x", purpose="user_data", bytes=4, mime_type="text/plain")
    database = sqlite3.connect(server.settings.home / "openhearth.db", isolation_level=None)
    database.execute("UPDATE uploads SET expires_at = expires_at - 3600 WHERE id = ?", [upload.id])
    database.close()

    with pytest.raises(BadRequestError, match=f"Upload {upload.id} is expired"):
        client.uploads.parts.create(upload.id, data=b"data")


def test_a_part_may_have_64_mebibytes(client: OpenAI) -> None:
    """The client's own part size fits exactly; one byte more does not."""
    upload = client.uploads.create(filename="x", purpose="user_data", bytes=2**26, mime_type="text/plain")
    part = client.uploads.parts.create(upload.id, data=bytes(2**26))

    with pytest.raises(APIStatusError) as caught:
        client.uploads.parts.create(upload.id, data=bytes(2**26 + 1))
    completed = client.uploads.complete(upload.id, part_ids=[part.id])

    assert caught.value.status_code == 413
    assert completed.file is not None
    assert completed.file.bytes == 2**26
    client.files.delete(completed.file.id)


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"filename": None}, "filename", "invalid_type"),
        ({"filename": ""}, "filename", "empty_string"),
        ({"bytes": -1}, "bytes", "integer_below_min_value"),
        ({"bytes": 8 * 2**30 + 1}, "bytes", "integer_above_max_value"),
        ({"bytes": "1"}, "bytes", "invalid_type"),
        ({"purpose": "fun"}, "purpose", None),
        ({"purpose": "fine-tune"}, "mime_type", "invalid_value"),
        ({"purpose": "batch", "mime_type": "text/jsonl"}, "file", None),
        ({"purpose": "vision", "mime_type": "text/plain"}, "mime_type", "invalid_value"),
        ({"purpose": "assistants", "mime_type": "image/tiff"}, "mime_type", "invalid_value"),
        ({"purpose": "assistants", "mime_type": "image/png"}, "file", None),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds", "integer_below_min_value"),
    ],
)
def test_a_wrong_announcement_is_refused(http: httpx2.Client, changes: Any, param: str, code: str | None) -> None:
    """What is wrong with an announcement is named."""
    body = {"filename": "a.bin", "purpose": "user_data", "bytes": 1, "mime_type": "image/png"} | changes

    response = http.post("/v1/uploads", json=body)

    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)


def test_only_data_is_taken(http: httpx2.Client, client: OpenAI) -> None:
    """A part has one field, `data`; it must be there, and nothing beside it."""
    upload = client.uploads.create(filename="x", purpose="user_data", bytes=4, mime_type="text/plain")
    url = f"/v1/uploads/{upload.id}/parts"

    missing = http.post(url, files={"file": ("upload", b"data")})
    unknown = http.post(url, files={"data": ("upload", b"data")}, data={"colour": "red"})

    assert missing.json()["error"]["message"] == "Unknown parameter: 'file'."
    assert unknown.json()["error"]["message"] == "Unknown parameter: 'colour'."


def test_an_unknown_upload(client: OpenAI) -> None:
    """Adding to, completing and cancelling an unknown upload fail alike."""
    for call in (
        lambda: client.uploads.parts.create("upload_none", data=b"data"),
        lambda: client.uploads.complete("upload_none", part_ids=[]),
        lambda: client.uploads.cancel("upload_none"),
    ):
        with pytest.raises(NotFoundError, match="No such Upload object: upload_none"):
            call()
