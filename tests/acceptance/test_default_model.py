"""The default model in a real server process, asked by the official client; weights come from `openhearth pull`."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from openai import OpenAI, RateLimitError
from transformers import AutoModelForCausalLM, AutoTokenizer

from openhearth.settings import DEFAULT_TEXT_MODEL, load_settings

MODEL = load_settings().models / DEFAULT_TEXT_MODEL
PROMPTS = [
    "Once upon a time",
    "The capital of France is",
    "def fibonacci(n):\n",
    "1, 2, 3, 4,",
    "Q: What is the boiling point of water?\nA:",
    "Dear Sir or Madam,\n\nI am writing to",
    "The three primary colours are",
    "In 1969, the first man",
    "Roses are red,",
    "To make a good cup of tea, you",
    "SELECT name FROM users WHERE",
    "Der Himmel ist",
    "The opposite of hot is",
    "She opened the door and",
    "import numpy as np\n\nx = np.",
    "A triangle has three sides. A square has",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "Water is made of hydrogen and oxygen. Salt is made of sodium and chlorine. " * 20,
    "The meaning of life",
    "<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\n",
    "Grüße aus",
    "Monday, Tuesday, Wednesday,",
]


@contextmanager
def serving(home: Path, **settings: object) -> Iterator[str]:
    """Run `openhearth serve` on a free port, and give its base URL."""
    chosen = {"home": home, "port": 0} | settings
    environment = os.environ | {f"OPENHEARTH_{name.upper()}": str(value) for name, value in chosen.items()}
    command = [sys.executable, "-m", "openhearth", "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            found = re.search(r"listening on (\S+)", running.stdout.readline())
            assert found is not None
            yield f"{found[1]}/v1"
            running.terminate()
            assert running.wait(timeout=60) == 0
        finally:
            running.kill()


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Give a client of a server with 32-bit weights."""
    with serving(tmp_path_factory.mktemp("f32"), dtype="f32") as base_url:
        yield OpenAI(base_url=base_url, api_key="any", max_retries=0)


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Give a client of a server with the settings a user gets."""
    with serving(tmp_path_factory.mktemp("int8")) as base_url:
        yield OpenAI(base_url=base_url, api_key="any", max_retries=0)


def greedy_by_reference(num_tokens: int) -> list[list[int]]:
    """Return the token ids, prompt included, of each prompt's greedy continuation by transformers in float32."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    with torch.no_grad():
        return [
            model.generate(
                **tokenizer(prompt, return_tensors="pt"), do_sample=False, max_new_tokens=num_tokens, pad_token_id=2
            )[0].tolist()
            for prompt in PROMPTS
        ]


def test_greedy_output_equals_the_reference(exact: OpenAI) -> None:
    """With 32-bit weights, 22 prompts of mixed length in one batch continue token for token as in transformers."""
    answer = exact.completions.create(
        model="gpt-3.5-turbo-instruct", prompt=PROMPTS, max_tokens=16, temperature=0, echo=True
    )

    texts = {choice.index: choice.text for choice in answer.choices}
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    expected = [tokenizer.decode(_without_end(token_ids)) for token_ids in greedy_by_reference(16)]
    assert [texts[index] for index in range(len(PROMPTS))] == expected


def _without_end(token_ids: list[int]) -> list[int]:
    return token_ids[:-1] if token_ids[-1] == 2 else token_ids


def test_int8_log_probabilities_stay_close(exact: OpenAI, default: OpenAI, capsys: pytest.CaptureFixture[str]) -> None:
    """8-bit weights change the log-probability of a token by a tenth on average; the figure is printed."""
    scores = []
    for client in (exact, default):
        answer = client.completions.create(
            model=DEFAULT_TEXT_MODEL, prompt=PROMPTS, max_tokens=0, echo=True, logprobs=0
        )
        logprobs = [choice.logprobs for choice in sorted(answer.choices, key=lambda choice: choice.index)]
        scores.append(np.array([value for entry in logprobs if entry for value in (entry.token_logprobs or [])[1:]]))

    difference = float(np.abs(scores[0] - scores[1]).mean())
    with capsys.disabled():
        print(f"\nint8 against f32: mean absolute difference of {len(scores[0])} log-probabilities {difference:.4f}")  # noqa: T201
    assert difference < 0.2


def test_text_from_a_real_model(default: OpenAI) -> None:
    """A fresh server knows the capital of France."""
    answer = default.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="The capital of France is", max_tokens=4, temperature=0
    )

    assert "Paris" in answer.choices[0].text
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 4)


def test_seed_reproduces_inside_a_busy_batch(exact: OpenAI) -> None:
    """The same seed gives the same text alone and beside thirty other requests."""

    def ask(seed: int) -> str:
        answer = exact.completions.create(
            model=DEFAULT_TEXT_MODEL, prompt="My favourite animal", max_tokens=24, seed=seed, temperature=0.8
        )
        return answer.choices[0].text

    alone = ask(7)
    with ThreadPoolExecutor(31) as pool:
        busy = list(pool.map(ask, [7, *range(100, 130)]))

    assert busy[0] == alone
    assert len(set(busy)) > 20


def test_leaving_in_the_middle_of_a_stream_frees_the_slot(default: OpenAI) -> None:
    """When a client goes away, its sequence is gone from the batch at once."""
    root = str(default.base_url).removesuffix("/v1/")
    stream = default.completions.create(
        model=DEFAULT_TEXT_MODEL, prompt="Count:", max_tokens=4000, stream=True, logit_bias={"2": -100, "0": -100}
    )
    next(iter(stream))
    running = _num_running(root)

    stream.close()

    assert running == 1
    while _num_running(root):
        time.sleep(0.01)


def _num_running(root: str) -> int:
    found = re.search(r"num_requests_running\{[^}]*\} (\d+)", httpx2.get(f"{root}/metrics").text)
    assert found is not None
    return int(found[1])


def test_200_requests_at_once(default: OpenAI) -> None:
    """All are answered, or told when to come again; afterwards the server is healthy."""
    together = threading.Barrier(200)

    def ask(number: int) -> str:
        together.wait()
        try:
            answer = default.completions.create(model=DEFAULT_TEXT_MODEL, prompt=f"{number} plus", max_tokens=4)
            return "answered" if answer.choices[0].finish_reason in ("length", "stop") else "odd"
        except RateLimitError as error:
            return "refused" if int(error.response.headers["retry-after"]) >= 1 else "odd"

    with ThreadPoolExecutor(200) as pool:
        outcomes = list(pool.map(ask, range(200)))

    root = str(default.base_url).removesuffix("/v1/")
    assert set(outcomes) <= {"answered", "refused"}
    assert outcomes.count("answered") >= 64
    assert httpx2.get(f"{root}/health").status_code == 200
