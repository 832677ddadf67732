"""Do programs written for the hosted service tune models here? `python -m benchmarks.clients`

Weights & Biases' `WandbLogger.sync`, llama-index's `OpenAIFinetuneEngine` and dspy's provider for OpenAI each run as
they are, in an environment of their own, with nothing changed but the base URL: they upload a file, create a job on the
default model, wait for it, and call the tuned model or copy its metrics. Not a measurement of speed.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from openai import OpenAI

from benchmarks.environment import peer_python
from benchmarks.fine_tuning import make_rows
from benchmarks.tuning_home import Home
from openhearth.settings import DEFAULT_TEXT_MODEL

PROGRAMS = Path(__file__).parent / "client_programs"
CLIENTS = {
    "wandb_sync": ["wandb==0.31.0", "openai==2.54.0", "pandas", "numpy"],
    "llama_index_engine": [
        "llama-index-finetuning==0.4.2",
        "llama-index-llms-openai-like",
        "mistralai<2",  # it imports all that it knows, and this one has moved since
        "openai==2.54.0",
    ],
    "dspy_provider": ["dspy==3.4.1", "openai==2.54.0"],
}


def drive(name: str, client: OpenAI, file: Path) -> dict[str, Any]:
    """Run one client's program against the server, and return what it says."""
    python = peer_python(name, CLIENTS[name])
    environment = os.environ | {
        "OPENAI_BASE_URL": str(client.base_url),
        "OPENAI_API_BASE": str(client.base_url),
        "OPENAI_API_KEY": "any",
        "WANDB_MODE": "offline",
        "WANDB_API_KEY": "0" * 40,
        "DSPY_CACHEDIR": str(file.parent / "dspy"),
    }
    done = subprocess.run(
        [python, PROGRAMS / f"{name}.py", DEFAULT_TEXT_MODEL, file],
        capture_output=True,
        text=True,
        env=environment,
        cwd=file.parent,
    )
    if done.returncode:
        return {"failed": (done.stderr or done.stdout)[-1500:]}
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def main() -> None:
    """Drive all clients, and print JSON on the last line."""
    with tempfile.TemporaryDirectory() as folder, Home(Path(folder) / "home").serving() as (_, client):
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in make_rows(12)))
        print(json.dumps({"benchmark": "clients", "clients": {name: drive(name, client, file) for name in CLIENTS}}))


if __name__ == "__main__":
    main()
