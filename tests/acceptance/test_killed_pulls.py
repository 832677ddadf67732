"""Pulls that are killed in the middle: what they leave is used or cleared away, and never served."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.download import Downloader
from openhearth.catalog.progress import SilentProgress
from openhearth.errors import ModelNotFoundError
from tests.unit.catalog.builders import build_gguf
from tests.unit.catalog.file_server import FileServer, serving

CONTENT = bytes(range(256)) * 8192

FETCH = """
import sys, time
from pathlib import Path
import httpx2
from openhearth.catalog.download import Downloader

def report(done):
    if done >= 1_000_000:
        print("halfway", flush=True)
        time.sleep(600)

with httpx2.Client() as client:
    Downloader(client).fetch(sys.argv[1], Path(sys.argv[2]), size_bytes=int(sys.argv[3]), sha256="", report=report)
"""

CONVERT = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from openhearth.catalog.catalog import Catalog

def report(done):
    print("halfway", flush=True)
    time.sleep(600)

class Halting:
    @contextmanager
    def step(self, description, *, total_bytes=None):
        yield report

Catalog(Path(sys.argv[1]), aliases={}).pull(sys.argv[2], Halting())
"""


def kill_halfway(script: str, *arguments: str) -> None:
    """Run a script until it says that it is halfway, and kill it."""
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halfway\n"
        process.kill()


def test_a_killed_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What a killed process has fetched is not fetched again."""
    part = tmp_path / "part"
    with serving(FileServer(CONTENT)) as server:
        kill_halfway(FETCH, server.url, str(part), str(len(CONTENT)))
        kept = part.stat().st_size

        with httpx2.Client() as client:
            file = Downloader(client).fetch(
                server.url,
                part,
                size_bytes=len(CONTENT),
                sha256=sha256(CONTENT).hexdigest(),
                report=lambda done: None,
            )

    assert file.read_bytes() == CONTENT
    assert kept > 0
    assert server.ranges == [None, f"bytes={kept}-"]


def test_a_killed_conversion_leaves_no_model(tmp_path: Path) -> None:
    """Half of a conversion is no model, and the next pull makes the whole one."""
    file = build_gguf(tmp_path / "Tiny.gguf")
    models = tmp_path / "models"

    kill_halfway(CONVERT, str(models), str(file))
    with pytest.raises(ModelNotFoundError):
        Catalog(models, aliases={}).resolve("Tiny")

    assert Catalog(models, aliases={}).pull(str(file), SilentProgress()).is_ready
    assert not list((models / ".staging").iterdir())
