"""Real processes of the `openhearth` command, each with a home and models of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openai import OpenAI

_COMMAND = (sys.executable, "-m", "openhearth")


@dataclass(frozen=True)
class Installation:
    """Where a test's servers and commands keep everything."""

    root: Path
    settings: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of every process: the settings, and nothing of the developer's own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENHEARTH_")}
        own = {"OPENHEARTH_HOME": str(self.root / "home"), "OPENHEARTH_MODELS": str(self.root / "models")}
        return {**inherited, **own, "OPENHEARTH_EMBEDDING_MODEL": "", "OPENHEARTH_IMAGE_MODEL": "", **self.settings}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*_COMMAND, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; its standard output can be read line by line, its standard error lies in a file."""
        with (self.root / "stderr").open("w", encoding="utf-8") as stderr:
            return subprocess.Popen(
                [*_COMMAND, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=stderr, text=True
            )


@dataclass(frozen=True)
class ServingProcess:
    """A server that has said where it listens."""

    process: subprocess.Popen[str]
    url: str
    banner: str

    def client(self, api_key: str = "any") -> OpenAI:
        """Return the official client, which does not try again by itself."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=api_key, max_retries=0)


@contextmanager
def serving(installation: Installation) -> Iterator[ServingProcess]:
    """Run `openhearth serve` on a free port for as long as the context lasts."""
    process = installation.start("serve", "--port", "0")
    with process:
        try:
            banner = _read_banner(process, installation)
            url = re.search(r"http://127\.0\.0\.1:\d+", banner)
            assert url is not None
            yield ServingProcess(process, url[0], banner)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _read_banner(process: subprocess.Popen[str], installation: Installation) -> str:
    """Return what the server says when it is ready, which ends with how to call it from a shell."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "curl" in line:
            return "".join(lines)
    raise AssertionError((installation.root / "stderr").read_text(encoding="utf-8"))
