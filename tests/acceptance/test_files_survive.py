"""Files and `kill -9`: what was acknowledged is there, what was deleted is not, and nothing else lies about."""

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from openai import APIConnectionError, OpenAI

from tests.acceptance.test_serve import base_url, read_banner
from tests.servers import EMBEDDING_MODEL, MODEL, make_settings

NUM_KILLS = 30
NUM_FILES = 15  # so many files are kept about


@dataclass
class Ledger:
    """What the clients have asked for, and what they have been told."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sent: dict[str, str] = field(default_factory=dict)  # filename → SHA-256; noted before the request
    acknowledged: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    num_uploads: int = 0
    num_in_doubt: int = 0

    def new_file(self, data: bytes) -> str:
        """Note a file that is about to be sent, and return its name."""
        with self.lock:
            name = f"{len(self.sent)}.bin"
            self.sent[name] = hashlib.sha256(data).hexdigest()
            return name

    def acknowledge(self, file_id: str) -> None:
        """Note that the server has a file."""
        with self.lock:
            self.acknowledged.add(file_id)
            self.num_uploads += 1

    def choose_for_deletion(self) -> str | None:
        """Return a file that nobody deletes yet, if there are many."""
        with self.lock:
            free = sorted(self.acknowledged - self.deleting)
            if len(free) <= NUM_FILES:
                return None
            self.deleting.add(chosen := random.choice(free))
            return chosen

    def confirm_deletion(self, file_id: str) -> None:
        """Note that the server has deleted a file."""
        with self.lock:
            self.deleting.remove(file_id)
            self.acknowledged.remove(file_id)
            self.deleted.add(file_id)

    def verify(self, client: OpenAI, home: Path) -> None:
        """Compare with what the server has after a restart, and learn what became of what was in doubt."""
        files = {file.id: file for file in client.files.list()}
        assert self.acknowledged - self.deleting <= files.keys()
        assert not self.deleted & files.keys()
        for file in files.values():  # also those whose answer did not arrive: they are whole
            content = client.files.content(file.id).read()
            assert hashlib.sha256(content).hexdigest() == self.sent[file.filename]
        on_disk = {path.name for path in (home / "blobs").glob("*")}
        assert on_disk == files.keys() | part_ids(home)
        self.num_in_doubt += len(files.keys() - self.acknowledged)
        self.deleted |= self.deleting - files.keys()
        self.acknowledged, self.deleting = set(files), set()


def part_ids(home: Path) -> set[str]:
    """Return the parts that belong to uploads."""
    database = sqlite3.connect(home / "openhearth.db")
    found = {part_id for (part_id,) in database.execute("SELECT id FROM upload_parts")}
    database.close()
    return found


def upload_and_delete(client: OpenAI, ledger: Ledger, *, in_parts: bool) -> None:
    """Send and delete files until the server is gone."""
    try:
        while True:
            data = os.urandom(random.choice([10, 100_000, 2_000_000]))
            ledger.acknowledge(send(client, ledger.new_file(data), data, in_parts=in_parts))
            if (chosen := ledger.choose_for_deletion()) is not None:
                client.files.delete(chosen)
                ledger.confirm_deletion(chosen)
    except APIConnectionError:
        return


def send(client: OpenAI, name: str, data: bytes, *, in_parts: bool) -> str:
    """Send a file, at once or in two parts, and return its id."""
    if not in_parts:
        return client.files.create(file=(name, data), purpose="user_data").id
    upload = client.uploads.create(
        filename=name, purpose="user_data", bytes=len(data), mime_type="application/octet-stream"
    )
    parts = [client.uploads.parts.create(upload.id, data=half) for half in (data[:5], data[5:])]
    completed = client.uploads.complete(upload.id, part_ids=[part.id for part in parts])
    assert completed.file is not None
    return completed.file.id


@contextmanager
def server_after_server(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the program that starts a server for each line it is sent."""
    settings = make_settings(root)
    chosen = {"home": settings.home, "models": settings.models, "text_model": MODEL, "port": 0}
    chosen |= {"embedding_model": EMBEDDING_MODEL}
    environment = os.environ | {f"OPENHEARTH_{name.upper()}": str(value) for name, value in chosen.items()}
    command = [sys.executable, "-m", "tests.acceptance.serve_forked"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()


def start(servers: subprocess.Popen[str]) -> tuple[int, OpenAI]:
    """Start a server; return its process id, and a client for it."""
    assert servers.stdin is not None
    assert servers.stdout is not None
    servers.stdin.write("\n")
    servers.stdin.flush()
    process_id = int(servers.stdout.readline())
    url = base_url(read_banner(servers))
    return process_id, OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)


def live_and_die(servers: subprocess.Popen[str], ledger: Ledger, home: Path, *, num_clients: int) -> None:
    """Start a server, verify what it has, let clients work with it, and kill it while they do."""
    process_id, client = start(servers)
    with client:
        ledger.verify(client, home)
        workers = [
            threading.Thread(target=upload_and_delete, args=(client, ledger), kwargs={"in_parts": number == 0})
            for number in range(num_clients)
        ]
        enough = ledger.num_uploads + random.randint(0, 10)
        for worker in workers:
            worker.start()
        while ledger.num_uploads < enough and any(worker.is_alive() for worker in workers):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.1))
        os.kill(process_id, signal.SIGKILL)
        for worker in workers:
            worker.join()


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Through thirty kills, every file that was acknowledged is there with its hash, and every deleted one is not.

    A file whose answer had not arrived is absent or, if the kill fell between its commit and the answer, whole; a
    broken one never is there. After each restart the disk holds the content of files and parts, and nothing else.
    """
    ledger = Ledger()
    with server_after_server(tmp_path) as servers:
        for _ in range(NUM_KILLS):
            live_and_die(servers, ledger, tmp_path / "home", num_clients=3)
        live_and_die(servers, ledger, tmp_path / "home", num_clients=0)

    assert ledger.num_uploads > NUM_KILLS
    assert len(ledger.deleted) > NUM_KILLS
    assert ledger.num_in_doubt < 3 * NUM_KILLS  # each of the three clients waits for one answer when the server dies
