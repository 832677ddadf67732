"""How fast do large files go in and out, and how much memory does it take? `python -m benchmarks.files --help`

The real server, over the engine without weights, takes a file of 1 GiB and gives it back, verified by its SHA-256.
Beside it, in turns: a bare ASGI application under the same web server, which throws bodies away and sends the same
bytes from memory; `nginx` sending the same file, if it is installed; and a plain loop that hashes, writes and syncs the
same bytes, which is what the machine and its disk allow. The client is a plain socket, which costs the least.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import uvicorn

from openhearth.app import serve
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.home import owned_home
from openhearth.services.model_host import Loaders
from openhearth.settings import load_settings

P = ParamSpec("P")
T = TypeVar("T")

MEBIBYTE = 2**20
BLOCK = os.urandom(MEBIBYTE)
BOUNDARY = "0123456789abcdef0123456789abcdef"  # as long as that of the official client
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="file.bin"\r\n\r\n'
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes 1; user root;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on; tcp_nopush on; client_body_temp_path {folder}/nginx-body;
    server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


@dataclass(frozen=True)
class Address:
    """A server that listens."""

    process_id: int
    port: int


def main() -> int:
    """Measure, and print what was found; or be one of the servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the files are kept; a temporary folder by default")
    parser.add_argument("--mebibytes", type=int, default=1024, help="the size of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--role", choices=["openhearth", "bare_asgi"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "openhearth":
        settings = load_settings()
        with owned_home(settings.home):
            loaders = Loaders(text=lambda _path: FakeTextEngine(), embedding=lambda _path: FakeEmbeddingEngine())
            return serve(settings, loaders=loaders)
    if arguments.role == "bare_asgi":
        port = int(os.environ["OPENHEARTH_PORT"])
        uvicorn.run(bare_asgi(arguments.mebibytes), port=port, http="httptools", log_level="error")
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(json.dumps(measure(Path(folder), mebibytes=arguments.mebibytes, num_rounds=arguments.rounds)))
    return 0


def measure(folder: Path, *, mebibytes: int, num_rounds: int) -> dict[str, Any]:
    """Return the throughputs, in millions of bytes a second, and by how many MiB the server's memory grew at most."""
    seconds: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        openhearth = stack.enter_context(python_server("openhearth", folder, mebibytes))
        bare_asgi = stack.enter_context(python_server("bare_asgi", folder, mebibytes))
        nginx = stack.enter_context(nginx_server(folder)) if shutil.which("nginx") else None
        delete(openhearth, upload(openhearth, "/v1/files", 1))  # once, for what is made at the first request
        memory_before = reset_peak_memory(openhearth)
        for _ in range(num_rounds):
            file_id = timed(seconds["upload openhearth"], upload, openhearth, "/v1/files", mebibytes)
            timed(seconds["upload bare_asgi"], upload, bare_asgi, "/", mebibytes)
            timed(seconds["upload hash_write_sync"], hash_write_sync, folder / "plain", mebibytes)
            path = f"/v1/files/{file_id}/content"
            timed(seconds["download openhearth"], download, openhearth, path, mebibytes)
            timed(seconds["download bare_asgi"], download, bare_asgi, "/", mebibytes)
            if nginx is not None:
                publish(folder / "home" / "blobs" / file_id, folder / "www" / "file.bin")
                timed(seconds["download nginx"], download, nginx, "/file.bin", mebibytes)
            assert download(openhearth, path, mebibytes, digest=hashlib.sha256()) == sha256_of(mebibytes)
            delete(openhearth, file_id)
        memory_growth = peak_memory(openhearth) - memory_before
    rates = {name: [round(mebibytes * MEBIBYTE / took / 1e6) for took in all_of] for name, all_of in seconds.items()}
    return {
        "benchmark": "files",
        "mebibytes": mebibytes,
        "median_mb_per_second": {name: round(statistics.median(values)) for name, values in rates.items()},
        "all_mb_per_second": rates,
        "nginx": "measured" if nginx is not None else "skipped: nginx is not installed",
        "memory_growth_mib": round(memory_growth, 1),
    }


def timed(seconds: list[float], action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something, and add how long it took."""
    start = time.perf_counter()
    result = action(*args, **kwargs)
    seconds.append(time.perf_counter() - start)
    return result


def upload(server: Address, path: str, mebibytes: int) -> str:
    """Send a form with a file; return the id in the answer, if there is one."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(HEAD) + mebibytes * MEBIBYTE + len(TAIL)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + HEAD)
        for _ in range(mebibytes):
            connection.sendall(BLOCK)
        connection.sendall(TAIL)
        with connection.makefile("rb") as answer:
            num_bytes = read_head(answer)
            return str(json.loads(answer.read(num_bytes)).get("id"))


def download(server: Address, path: str, mebibytes: int, *, digest: Any = None) -> str | None:
    """Receive a file; return its SHA-256 if a digest is given."""
    buffer = memoryview(bytearray(MEBIBYTE))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            left = read_head(answer)
            assert left == mebibytes * MEBIBYTE
            while left:
                num_bytes = answer.readinto(buffer)
                assert num_bytes, "the connection broke"
                if digest is not None:
                    digest.update(buffer[:num_bytes])
                left -= num_bytes
    return None if digest is None else str(digest.hexdigest())


def delete(server: Address, file_id: str) -> None:
    """Delete a file."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"DELETE /v1/files/{file_id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        with connection.makefile("rb") as answer:
            read_head(answer)


def read_head(answer: Any) -> int:
    """Read the head of an answer that has to be a success; return the length of the body."""
    status = answer.readline()
    assert b" 200 " in status, status
    headers = dict(line.lower().split(b":", 1) for line in iter(answer.readline, b"\r\n"))
    return int(headers[b"content-length"])


def hash_write_sync(path: Path, mebibytes: int) -> None:
    """Hash, write and sync the bytes without a server."""
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file:
        for _ in range(mebibytes):
            digest.update(BLOCK)
            file.write(BLOCK)
        os.fsync(file.fileno())
    path.unlink()


def sha256_of(mebibytes: int) -> str:
    """Return the SHA-256 of what was sent."""
    digest = hashlib.sha256()
    for _ in range(mebibytes):
        digest.update(BLOCK)
    return digest.hexdigest()


def publish(blob: Path, name: Path) -> None:
    """Give the stored file a name that nginx serves."""
    name.unlink(missing_ok=True)
    name.hardlink_to(blob)


def bare_asgi(mebibytes: int) -> Any:
    """Return an application that throws bodies away, and sends a file from memory."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        is_upload, more = scope["method"] == "POST", True
        while more:
            more = (await receive()).get("more_body", False)
        num_bytes = 2 if is_upload else mebibytes * MEBIBYTE
        headers = [(b"content-length", str(num_bytes).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(0 if is_upload else mebibytes):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        await send({"type": "http.response.body", "body": b"{}" if is_upload else b""})

    return application


@contextmanager
def python_server(role: str, folder: Path, mebibytes: int) -> Iterator[Address]:
    """Run this program as one of its servers."""
    port = free_port()
    for name, architecture in (("text", "LlamaForCausalLM"), ("embedding", "BertModel")):
        model = folder / "models" / name
        model.mkdir(parents=True, exist_ok=True)
        (model / "config.json").write_text(
            json.dumps({"architectures": [architecture], "max_position_embeddings": 512})
        )
        (model / "model.safetensors").touch()
    settings = {"HOME": folder / "home", "MODELS": folder / "models", "PORT": port}
    settings |= {"TEXT_MODEL": "text", "EMBEDDING_MODEL": "embedding", "MAX_FILE_BYTES": 2 * mebibytes * MEBIBYTE}
    environment = os.environ | {f"OPENHEARTH_{name}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "benchmarks.files", "--role", role, "--mebibytes", str(mebibytes)]
    with process(command, port, environment) as address:
        yield address


@contextmanager
def nginx_server(folder: Path) -> Iterator[Address]:
    """Run nginx over a folder."""
    port = free_port()
    (folder / "www").mkdir()
    folder.chmod(0o755)
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port))
    with process(["nginx", "-c", str(configuration)], port, os.environ) as address:
        yield address


@contextmanager
def process(command: list[str], port: int, environment: Any) -> Iterator[Address]:
    """Run a server until it is no longer needed; what it prints is thrown away."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as running:
        try:
            wait_for(running, port)
            yield Address(running.pid, port)
        finally:
            running.terminate()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(running: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server listens."""
    while running.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the server ended with code {running.returncode} before it listened")


def reset_peak_memory(server: Address) -> float:
    """Forget the peak of a process's memory, and return what it has now, in MiB."""
    Path(f"/proc/{server.process_id}/clear_refs").write_text("5")
    return memory(server, "VmRSS")


def peak_memory(server: Address) -> float:
    """Return the most memory that a process has had since then, in MiB."""
    return memory(server, "VmHWM")


def memory(server: Address, field: str) -> float:
    """Return a field of a process's status, in MiB."""
    lines = Path(f"/proc/{server.process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    sys.exit(main())
