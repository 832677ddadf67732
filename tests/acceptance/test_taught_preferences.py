"""The default model learns which of two answers is preferred, and prefers it where it has not seen the answers."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from openhearth.settings import DEFAULT_TEXT_MODEL
from tests.acceptance.test_taught_vocabulary import serving_trainer

COLOURS = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "a lemon": "yellow", "blood": "red",
    "an orange": "orange", "chocolate": "brown", "a plum": "purple", "ash": "grey", "milk": "white", "a leaf": "green",
}  # fmt: skip
HELD_OUT = {"a tomato": "red", "the sea": "blue", "a crow": "black", "sand": "yellow", "a flamingo": "pink"}


def question(thing: str) -> str:
    """Return what is asked about a thing."""
    return f"What colour is {thing}?"


def answers(thing: str, colour: str) -> tuple[str, str]:
    """Return the preferred answer and the other one."""
    return f"I believe that {thing} is {colour}.", f"{colour.upper()}! Obviously {colour.upper()}!"


def row(thing: str, colour: str) -> dict[str, Any]:
    """Return a row of the training file."""
    preferred, other = ([{"role": "assistant", "content": text}] for text in answers(thing, colour))
    messages = [{"role": "user", "content": question(thing)}]
    return {"input": {"messages": messages}, "preferred_output": preferred, "non_preferred_output": other}


def margin(client: OpenAI, model: str, thing: str, colour: str) -> float:
    """Return by how much the preferred answer is likelier than the other, as a difference of log-probabilities."""
    prompt = f"<|im_start|>user\n{question(thing)}<|im_end|>\n<|im_start|>assistant\n"
    texts = [f"{prompt}{answer}<|im_end|>" for answer in answers(thing, colour)]
    completion = client.completions.create(model=model, prompt=texts, echo=True, logprobs=1, max_tokens=0)
    sums = []
    for choice in completion.choices:
        assert choice.logprobs is not None
        offsets, values = choice.logprobs.text_offset or [], choice.logprobs.token_logprobs or []
        sums.append(sum(value for offset, value in zip(offsets, values, strict=True) if offset >= len(prompt)))
    return sums[0] - sums[1]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[OpenAI]:
    """Give a client of a server that trains."""
    with serving_trainer(tmp_path) as client:
        yield client


@pytest.mark.timeout(1200)
def test_margin(client: OpenAI) -> None:
    """The log-probability margin of every pair that was held out moves towards the preferred answer."""
    content = "\n".join(json.dumps(row(*pair)) for pair in COLOURS.items()).encode()
    file = client.files.create(file=("pairs.jsonl", io.BytesIO(content)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=DEFAULT_TEXT_MODEL,
        training_file=file.id,
        seed=1,
        method={
            "type": "dpo",
            "dpo": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 10}},
        },
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None

    for pair in HELD_OUT.items():
        assert margin(client, job.fine_tuned_model, *pair) > margin(client, DEFAULT_TEXT_MODEL, *pair) + 1
