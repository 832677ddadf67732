"""Large files, and the memory of the server that takes and gives them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.test_serve import base_url, process, read_banner

MEBIBYTE = 2**20
NUM_BYTES = 200 * MEBIBYTE
LINES = b'{"messages": [{"role": "user", "content": "' + b"x" * (1024 - 48) + b'"}]}\n'


def memory(process_id: int, field: str) -> int:
    """Return a field of a process's status, in bytes."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def form(purpose: str, block: bytes) -> Iterator[bytes]:
    """Return a form with a large file, a piece at a time."""
    yield b'--xx\r\nContent-Disposition: form-data; name="file"; filename="large.jsonl"\r\n\r\n'
    for _ in range(NUM_BYTES // len(block)):
        yield block
    yield f'\r\n--xx\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n--xx--\r\n'.encode()


@pytest.mark.parametrize(
    ("purpose", "block"), [("user_data", bytes(MEBIBYTE)), ("fine-tune", LINES * (MEBIBYTE // len(LINES)))]
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, purpose: str, block: bytes) -> None:
    """A file of 200 MiB goes in, line by line if its purpose asks for that, and out, in less than 64 MiB of memory."""
    with process(tmp_path) as running:
        url = base_url(read_banner(running))
        with httpx2.Client(base_url=url, timeout=120) as http:
            assert http.get("/v1/files").status_code == 200
            before = memory(running.pid, "VmRSS")
            answer = http.post(
                "/v1/files",
                content=form(purpose, block),
                headers={"content-type": "multipart/form-data; boundary=xx"},
            )
            digest = hashlib.sha256()
            with http.stream("GET", f"/v1/files/{answer.json()['id']}/content") as response:
                for piece in response.iter_bytes():
                    digest.update(piece)
        growth = memory(running.pid, "VmHWM") - before

    expected = hashlib.sha256()
    for _ in range(NUM_BYTES // len(block)):
        expected.update(block)
    assert digest.hexdigest() == expected.hexdigest()
    assert growth < 64 * MEBIBYTE
