"""Pictures that mean harm, and the memory of the server that looks at them."""

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.acceptance.test_files_memory import memory
from tests.acceptance.test_serve import base_url, process, read_banner
from tests.image_models import build_image_model

pytestmark = pytest.mark.filterwarnings("ignore")  # Building the model, diffusers and transformers warn of their ways.

MEBIBYTE = 2**20
EDGE = 4900  # just below the most pixels that are decoded
ROWS = zlib.compress(bytes(MEBIBYTE))


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG in RGBA."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(num_bytes: int) -> bytes:
    """Return many zeros, compressed to about a thousandth."""
    compressor = zlib.compressobj(9)
    pieces = [compressor.compress(bytes(MEBIBYTE)) for _ in range(num_bytes // MEBIBYTE)]
    return b"".join(pieces) + compressor.flush()


def cut_off(file_format: str) -> bytes:
    """Return the beginning of a picture with as many pixels as are allowed."""
    file = BytesIO()
    Image.effect_noise((EDGE, EDGE), 64).convert("RGB").save(file, file_format)
    return file.getvalue()[: file.tell() // 3]


BOMBS: dict[str, Callable[[], bytes]] = {
    "gigapixels": lambda: png(40_000, 40_000, chunk(b"IDAT", ROWS)),
    "one long row": lambda: png(2**31 - 1, 1, chunk(b"IDAT", ROWS)),
    "fewer rows than it says": lambda: png(EDGE, EDGE, chunk(b"IDAT", ROWS)),
    "a gigabyte of text": lambda: png(64, 64, chunk(b"zTXt", b"a\0\0" + zeros(2**30)), chunk(b"IDAT", ROWS)),
    "a gigabyte of colours": lambda: png(64, 64, chunk(b"iCCP", b"a\0\0" + zeros(2**30)), chunk(b"IDAT", ROWS)),
    "half a PNG": lambda: cut_off("PNG"),
    "half a JPEG": lambda: cut_off("JPEG"),
    "half a WebP": lambda: cut_off("WEBP"),
}


def test_bombs(tmp_path: Path) -> None:
    """Each is a 400 that names the image, four at a time, in less memory than the largest of honest pictures takes."""
    build_image_model(tmp_path / "models" / "tiny")
    bombs = {name: make() for name, make in BOMBS.items()}

    with process(tmp_path, image_model="tiny") as running:
        url = base_url(read_banner(running))

        def edit(picture: bytes) -> httpx2.Response:
            files = {"image": ("picture.png", picture)}
            data = {"prompt": "a cat", "model": "tiny", "num_inference_steps": "2"}
            return httpx2.post(f"{url}/v1/images/edits", files=files, data=data, timeout=120)

        honest = edit(png(64, 64, chunk(b"IDAT", zlib.compress(bytes(64 * 257)))))
        Path(f"/proc/{running.pid}/clear_refs").write_text("5")  # the peak counts from here
        before = memory(running.pid, "VmRSS")
        with ThreadPoolExecutor(4) as pool:
            answers = dict(zip(bombs, pool.map(edit, bombs.values()), strict=True))
        growth = memory(running.pid, "VmHWM") - before

    assert honest.status_code == 200
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(BOMBS, 400)
    errors = [answer.json()["error"] for answer in answers.values()]
    assert {(error["param"], error["code"]) for error in errors} == {("image", "invalid_image")}
    assert growth < 300 * MEBIBYTE
