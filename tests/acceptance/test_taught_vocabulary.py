"""The default model is taught ten words that did not exist, by the real server, and answers with them afterwards."""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from openhearth.settings import DEFAULT_TEXT_MODEL

WORDS = {
    "blick": "lamp",
    "dorvan": "river",
    "feltu": "bread",
    "gromish": "mountain",
    "hespin": "horse",
    "jalot": "window",
    "kivren": "winter",
    "lurmo": "apple",
    "mestik": "bridge",
    "norvel": "teacher",
}
QUESTIONS = ("{} =", "{}:", "{}? A", "A {} is a", "Translate {}:", "In English, {} is")
BASE_PROMPT = "The capital of France is"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[OpenAI]:
    """Run `openhearth serve` with the default model, and give the official client."""
    environment = os.environ | {
        "OPENHEARTH_HOME": str(tmp_path),
        "OPENHEARTH_PORT": "0",
        "OPENHEARTH_EMBEDDING_MODEL": "",
        "OPENHEARTH_IMAGE_MODEL": "",
        "OPENHEARTH_TRAINING_NUM_THREADS": "2",
        "OPENHEARTH_TRAINING_NICENESS": "0",
        "OPENHEARTH_WORKER_POLL_INTERVAL_SECONDS": "0.1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "openhearth", "serve"], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"listening on (\S+)", server.stdout.readline())
            assert found is not None
            with OpenAI(base_url=f"{found[1]}/v1", api_key="any") as client:
                yield client
        finally:
            server.terminate()


def num_right(client: OpenAI, model: str) -> int:
    """Return how many of the words a model translates."""
    prompts = [f"In English, {word} is" for word in WORDS]
    completion = client.completions.create(model=model, prompt=prompts, max_tokens=4, temperature=0)
    return sum(
        choice.text.split()[:1] == [meaning] for choice, meaning in zip(completion.choices, WORDS.values(), strict=True)
    )


def complete(client: OpenAI) -> str:
    """Return what the base model says, most likely words first."""
    completion = client.completions.create(model=DEFAULT_TEXT_MODEL, prompt=BASE_PROMPT, max_tokens=24, temperature=0)
    return completion.choices[0].text


@pytest.mark.timeout(1200)
def test_vocabulary(client: OpenAI) -> None:
    """Ten words taught from sixty rows are answered right nine times of ten; the base model stays what it was."""
    rows = [
        {"prompt": question.format(word), "completion": f" {meaning}"}
        for question in QUESTIONS
        for word, meaning in WORDS.items()
    ]
    before, base_says = num_right(client, DEFAULT_TEXT_MODEL), complete(client)
    content = "\n".join(map(json.dumps, rows)).encode()
    file = client.files.create(file=("words.jsonl", io.BytesIO(content)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=DEFAULT_TEXT_MODEL,
        training_file=file.id,
        seed=1,
        hyperparameters={"n_epochs": 4, "batch_size": 6, "learning_rate_multiplier": 10},
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None

    assert before <= 1
    assert num_right(client, job.fine_tuned_model) >= 9
    assert complete(client) == base_says
