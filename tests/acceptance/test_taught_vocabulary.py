"""The default model is taught ten words that did not exist, by the real server, and answers with them afterwards."""

import io
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from openhearth.settings import DEFAULT_TEXT_MODEL
from tests.acceptance.test_default_model import serving

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
PROMPT = "The capital of France is"


@contextmanager
def serving_trainer(home: Path) -> Iterator[OpenAI]:
    """Run `openhearth serve` with the default model, and give the official client."""
    settings = {"embedding_model": "", "image_model": "", "worker_poll_interval_seconds": 0.1}
    training = {"training_num_threads": 2, "training_niceness": 0}
    with serving(home, **settings, **training) as base_url, OpenAI(base_url=base_url, api_key="any") as client:
        yield client


def num_right(client: OpenAI, model: str) -> int:
    """Return how many of the words a model translates."""
    prompts = [f"In English, {word} is" for word in WORDS]
    completion = client.completions.create(model=model, prompt=prompts, max_tokens=4, temperature=0)
    return sum(
        choice.text.split()[:1] == [meaning] for choice, meaning in zip(completion.choices, WORDS.values(), strict=True)
    )


def complete(client: OpenAI, model: str) -> str:
    """Return what a model says, most likely words first."""
    completion = client.completions.create(model=model, prompt=PROMPT, max_tokens=24, temperature=0)
    return completion.choices[0].text


def teach(client: OpenAI) -> FineTuningJob:
    """Teach the words from sixty rows."""
    rows = [
        {"prompt": question.format(word), "completion": f" {meaning}"}
        for question in QUESTIONS
        for word, meaning in WORDS.items()
    ]
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
    return job


def answers(client: OpenAI, models: Sequence[str]) -> list[str]:
    """Return what these models make of the same prompt, all asked at the same time."""
    with ThreadPoolExecutor(len(models)) as pool:
        return list(pool.map(partial(complete, client), models))


@pytest.mark.timeout(1200)
def test_vocabulary(tmp_path: Path) -> None:
    """Ten words taught from sixty rows are answered right nine times of ten; the base model stays what it was.

    Base, checkpoints and tuned model answer in one batch as they do alone, and after a restart as before.
    """
    with serving_trainer(tmp_path) as client:
        before, base_says = num_right(client, DEFAULT_TEXT_MODEL), complete(client, DEFAULT_TEXT_MODEL)
        job = teach(client)
        assert job.fine_tuned_model is not None
        checkpoints = [c.fine_tuned_model_checkpoint for c in client.fine_tuning.jobs.checkpoints.list(job.id)]
        models = [DEFAULT_TEXT_MODEL, job.fine_tuned_model, *checkpoints]

        assert before <= 1
        assert num_right(client, job.fine_tuned_model) >= 9
        alone = [complete(client, model) for model in models]
        assert alone[0] == base_says
        assert len(checkpoints) == 3  # of the four epochs, the last three
        assert base_says not in alone[1:]
        assert answers(client, models * 3) == alone * 3

    with serving_trainer(tmp_path) as client:
        assert answers(client, models) == alone
        assert num_right(client, job.fine_tuned_model) >= 9
