"""A full disk: refused in words, nothing lost, and all is well again once there is room."""

import hashlib
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from openai import APIStatusError, OpenAI

from openhearth.engine.fake.engine import FakeTextEngine
from tests.acceptance.test_serve import base_url, process, read_banner
from tests.servers import make_settings, run_server

FILE_BYTES = 3_000_000


def create(client: OpenAI, data: bytes) -> str:
    """Upload a file and return its id."""
    return client.files.create(file=("data.bin", data), purpose="user_data").id


def fill(client: OpenAI, kept: dict[str, str]) -> APIStatusError:
    """Upload files until one is refused; note the id and the SHA-256 of those that were taken."""
    while True:
        data = os.urandom(FILE_BYTES)
        try:
            kept[create(client, data)] = hashlib.sha256(data).hexdigest()
        except APIStatusError as error:
            return error


def check(client: OpenAI, blobs: Path, kept: dict[str, str]) -> None:
    """See that the server has the files of `kept`, whole, and nothing else."""
    found = {file.id: hashlib.sha256(client.files.content(file.id).read()).hexdigest() for file in client.files.list()}
    assert found == kept
    assert {path.name for path in blobs.iterdir()} == set(kept)


def test_a_full_disk(small_disk: Path) -> None:
    """Files that do not fit are refused with 507, those that were taken stay, and deleting one makes room again."""
    settings = make_settings(small_disk)
    blobs = settings.home / "blobs"
    kept: dict[str, str] = {}
    with run_server(settings, FakeTextEngine()) as server, server.client() as client:
        with ThreadPoolExecutor(4) as clients:
            refusals = list(clients.map(lambda _: fill(client, kept), range(4)))
        check(client, blobs, kept)
        assert len(kept) >= 4
        for refusal in refusals:
            assert refusal.status_code == 507
            assert refusal.body == {
                "message": "The server's disk is full.",
                "type": "server_error",
                "param": None,
                "code": None,
            }

        gone = next(iter(kept))
        client.files.delete(gone)
        del kept[gone]
        data = os.urandom(FILE_BYTES)
        kept[create(client, data)] = hashlib.sha256(data).hexdigest()
        check(client, blobs, kept)


def test_a_disk_that_others_have_filled(small_disk: Path) -> None:
    """Without room for even a row, the server refuses and still reads; with room again, it goes on by itself."""
    settings = make_settings(small_disk)
    blobs = settings.home / "blobs"
    with run_server(settings, FakeTextEngine()) as server, server.client() as client:
        data = os.urandom(FILE_BYTES)
        kept = {create(client, data): hashlib.sha256(data).hexdigest()}
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        for content in (b"", b"small", data):
            with pytest.raises(APIStatusError) as refused:
                create(client, content)
            assert refused.value.status_code == 507
        with pytest.raises(APIStatusError) as announced:
            client.uploads.create(filename="x", purpose="user_data", bytes=1, mime_type="text/plain")
        check(client, blobs, kept)

        ballast.unlink()
        kept[create(client, b"small")] = hashlib.sha256(b"small").hexdigest()
        check(client, blobs, kept)

    assert announced.value.status_code == 507


def test_a_disk_that_takes_no_large_files(tmp_path: Path) -> None:
    """When the system lets no file grow, large ones are refused with 507 and small ones taken, until it does again."""
    with process(tmp_path) as running:
        url = base_url(read_banner(running))
        with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
            large = os.urandom(FILE_BYTES)
            kept = {create(client, large): hashlib.sha256(large).hexdigest()}
            before = resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
            with pytest.raises(APIStatusError) as refused:
                create(client, large)
            kept[create(client, b"small")] = hashlib.sha256(b"small").hexdigest()
            resource.prlimit(running.pid, resource.RLIMIT_FSIZE, before)
            kept[create(client, large)] = hashlib.sha256(large).hexdigest()

            assert refused.value.status_code == 507
            check(client, tmp_path / "home" / "blobs", kept)
