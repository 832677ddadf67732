"""The server as a process: how it starts, what it says, how it ends."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from tests.servers import EMBEDDING_MODEL, MODEL, make_settings


@contextmanager
def process(root: Path, *, step_seconds: float = 0, **settings: object) -> Iterator[subprocess.Popen[str]]:
    """Start a server with a home under `root`; make sure that it is gone in the end."""
    made = make_settings(root)
    chosen = {"home": made.home, "models": made.models, "text_model": MODEL, "port": 0}
    chosen |= {"embedding_model": EMBEDDING_MODEL} | settings
    environment = os.environ | {f"OPENHEARTH_{name.upper()}": str(value) for name, value in chosen.items()}
    command = [sys.executable, "-m", "tests.acceptance.serve_fake", str(step_seconds)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def read_banner(running: subprocess.Popen[str]) -> list[str]:
    """Return the lines a server greets with, once it listens."""
    assert running.stdout is not None
    return [running.stdout.readline().rstrip() for _ in range(4)]


def base_url(banner: list[str]) -> str:
    """Return the address in a banner."""
    found = re.search(r'base_url="([^"]+)/v1"', banner[2])
    assert found is not None
    return found[1]


class TestStart:
    """From nothing to listening."""

    def test_banner(self, tmp_path: Path) -> None:
        """The banner names the address and the models, and the command in it works when it is pasted."""
        with process(tmp_path) as running:
            banner = read_banner(running)
            health = httpx2.get(f"{base_url(banner)}/health")
            words = shlex.split(banner[3])
            headers = dict(word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
            answer = httpx2.post(words[2], headers=headers, content=words[words.index("-d") + 1])

        assert re.fullmatch(r"openhearth \S+ is listening on http://127\.0\.0\.1:\d+", banner[0])
        assert MODEL in banner[1]
        assert "gpt-4o-mini" in banner[1]
        assert health.status_code == 200
        assert words[:2] == ["shell", "curl"]
        assert answer.json()["object"] == "text_completion"

    def test_open_to_others_without_a_key(self, tmp_path: Path) -> None:
        """A server that others can reach does not start without a key, and says what to do."""
        with process(tmp_path, host="0.0.0.0") as running:
            _, errors = running.communicate(timeout=60)

        assert running.returncode == 2
        assert "openhearth keys create" in errors

    def test_port_in_use(self, tmp_path: Path) -> None:
        """A port that is taken is one sentence, not a traceback."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with process(tmp_path, port=port) as running:
                _, errors = running.communicate(timeout=60)

        assert running.returncode == 2
        assert f"cannot listen on 127.0.0.1, port {port}" in errors
        assert "Traceback" not in errors

    def test_broken_model(self, tmp_path: Path) -> None:
        """A default model that cannot be loaded ends the server with the reason."""
        with process(tmp_path, step_seconds=-1) as running:
            _, errors = running.communicate(timeout=60)

        assert running.returncode == 2
        assert errors.strip() == "The weights are broken."


class TestEnd:
    """Signals."""

    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
    def test_drains(self, tmp_path: Path, ending: signal.Signals) -> None:
        """Running requests are finished, new ones are not taken, and the process ends with code 0."""
        body = {"model": MODEL, "prompt": "abc", "max_tokens": 40, "temperature": 0, "stream": True}
        with process(tmp_path, step_seconds=0.05, drain_timeout_seconds=60) as running:
            url = base_url(read_banner(running))
            with httpx2.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as response:
                lines = response.iter_lines()
                received = [next(lines)]
                running.send_signal(ending)
                self._wait_until_closed(url)
                received += lines
            _, errors = running.communicate(timeout=60)

        assert received[-2] == "data: [DONE]"
        assert sum(line.startswith("data: {") for line in received) == 41
        assert running.returncode == 0
        assert errors == ""

    def test_gives_up_in_the_end(self, tmp_path: Path) -> None:
        """A request that takes longer than the time to drain is cut off, and the process still ends with code 0."""
        body = {"model": MODEL, "prompt": "abc", "max_tokens": 2000, "temperature": 0, "stream": True}
        with process(tmp_path, step_seconds=1, drain_timeout_seconds=0.3) as running:
            url = base_url(read_banner(running))
            with httpx2.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as response:
                lines = response.iter_lines()
                next(lines)
                running.send_signal(signal.SIGTERM)
                with pytest.raises(httpx2.RemoteProtocolError):
                    list(lines)
            _, errors = running.communicate(timeout=60)

        assert running.returncode == 0
        assert "Traceback" not in errors

    def test_gives_up_what_has_no_answer_yet(self, tmp_path: Path) -> None:
        """A request that is cut off before its answer has begun is told so, in an answer that can be tried again."""
        body = {"model": MODEL, "prompt": "abc", "max_tokens": 2000}
        with process(tmp_path, step_seconds=1, drain_timeout_seconds=0.3) as running, ThreadPoolExecutor() as pool:
            url = base_url(read_banner(running))
            answer = pool.submit(httpx2.post, f"{url}/v1/completions", json=body, timeout=60)
            while f'num_requests_running{{model_name="{MODEL}"}} 1.0' not in httpx2.get(f"{url}/metrics").text:
                time.sleep(0.01)
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=60)

        assert running.returncode == 0
        assert answer.result().status_code == 503
        assert answer.result().json()["error"]["message"] == "The server is shutting down."

    def test_second_signal(self, tmp_path: Path) -> None:
        """A second signal ends the process without waiting any longer."""
        body = {"model": MODEL, "prompt": "abc", "max_tokens": 2000, "temperature": 0, "stream": True}
        with process(tmp_path, step_seconds=1, drain_timeout_seconds=3600) as running:
            url = base_url(read_banner(running))
            with httpx2.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as response:
                next(response.iter_lines())
                running.send_signal(signal.SIGINT)
                self._wait_until_closed(url)
                running.send_signal(signal.SIGINT)
                running.communicate(timeout=60)

        assert running.returncode == 0

    @staticmethod
    def _wait_until_closed(url: str) -> None:
        while True:
            try:
                httpx2.get(f"{url}/health")
            except httpx2.TransportError:
                return
            time.sleep(0.01)


class TestLoad:
    """Many requests at once."""

    def test_200_at_once(self, tmp_path: Path) -> None:
        """Of 200 requests at once each is answered or told when to come again, and the server stays healthy."""
        body = {"model": MODEL, "prompt": "abc", "max_tokens": 20, "temperature": 0}
        together = threading.Barrier(200)

        def ask(http: httpx2.Client) -> httpx2.Response:
            together.wait()
            return http.post("/v1/completions", json=body)

        with process(tmp_path, step_seconds=0.01) as running:
            limits = httpx2.Limits(max_connections=200)
            with (
                httpx2.Client(base_url=base_url(read_banner(running)), limits=limits, timeout=60) as http,
                ThreadPoolExecutor(200) as pool,
            ):
                answers = list(pool.map(ask, [http] * 200))
                health = http.get("/health")

        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert len(answers) - len(refused) >= 40
        assert health.status_code == 200


class TestKeys:
    """The `keys` commands."""

    @staticmethod
    def keys(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the commands."""
        command = [sys.executable, "-m", "openhearth", "keys", *arguments, "--home", str(home)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_while_the_server_runs(self, tmp_path: Path) -> None:
        """A key made or revoked by a command counts for the running server at once."""
        with process(tmp_path) as running:
            url = base_url(read_banner(running))
            created = self.keys(tmp_path / "home", "create", "laptop", "--project", "garden")
            secret = created.stdout.splitlines()[-1]
            statuses = [
                httpx2.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code
                for key in ("other", secret)
            ]
            listed = self.keys(tmp_path / "home", "list")
            key_id = re.search(r"key_\w+", listed.stdout)
            assert key_id is not None
            revoked = [self.keys(tmp_path / "home", "revoke", key_id[0]) for _ in range(2)]
            after = httpx2.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {secret}"}).status_code

        assert secret.startswith("sk-")
        assert statuses == [401, 200]
        assert all(word in listed.stdout for word in ("laptop", "garden", "valid", secret[-4:]))
        assert secret not in listed.stdout
        assert [run.returncode for run in revoked] == [0, 2]
        assert f"No such API key: {key_id[0]}" in revoked[1].stderr
        assert after == 401
