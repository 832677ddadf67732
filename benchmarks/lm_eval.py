"""Does lm-evaluation-harness get the same numbers over HTTP as from transformers? `python -m benchmarks.lm_eval`

The harness runs two tasks twice on the same weights in f32: through `local-completions` against a server of its own,
and through `hf`. The tasks are sums with four answers each, made here from a seed, and the perplexity of a text that is
shipped with the tests; nothing is fetched. Log-probabilities are compared answer by answer, and for the text by token.
The last line of the output is JSON.
"""

import argparse
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.environment import peer_python
from openhearth.settings import DEFAULT_TEXT_MODEL

PACKAGES = ["lm-eval[api]==0.4.13", "accelerate==1.15.0", "torch==2.13.0", "transformers==5.23.0"]
TEXT = Path(__file__).parent.parent / "tests" / "data" / "hearths.txt"
CHOICE_TASK, TEXT_TASK = "sums", "hearths"
MAX_LENGTH = 1024
TARGET = 1e-3

_TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
"""
_CHOICES = """\
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1}
"""
_PERPLEXITY = """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
metadata: {version: 1}
"""


def write_tasks(folder: Path, *, num_items: int) -> None:
    """Write both tasks and their data."""
    rng = random.Random(0)
    _write_lines(folder / "sums.jsonl", [_sum(rng) for _ in range(num_items)])
    _write_lines(folder / "hearths.jsonl", [{"text": TEXT.read_text(encoding="utf-8")}])
    for name, kind in ((CHOICE_TASK, _CHOICES), (TEXT_TASK, _PERPLEXITY)):
        (folder / f"{name}.yaml").write_text(_TASK.format(name=name, data=folder / f"{name}.jsonl") + kind)


def _sum(rng: random.Random) -> dict[str, Any]:
    first, second = rng.randint(1, 20), rng.randint(1, 20)
    wrong = rng.sample([n for n in range(2, 41) if n != first + second], 3)
    choices = [first + second, *wrong]
    rng.shuffle(choices)
    question = f"Question: What is {first} plus {second}?\nAnswer: {first} plus {second} is"
    return {"question": question, "choices": [str(n) for n in choices], "answer": choices.index(first + second)}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """Run a server with weights in f32, and give its URL."""
    environment = os.environ | {
        "OPENHEARTH_DTYPE": "f32",
        "OPENHEARTH_LOG_LEVEL": "warning",
        "OPENHEARTH_EMBEDDING_MODEL": "",
        "OPENHEARTH_MODELS": str(models),
        "OPENHEARTH_WORKER": "false",
    }
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "openhearth", "serve", "--port", "0", "--home", home]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            banner = process.stdout.readline()
            yield re.findall(r"http://\S+", banner)[0]
            process.send_signal(signal.SIGTERM)


def evaluate(python: Path, tasks: Path, output: Path, model: str, model_args: dict[str, Any]) -> dict[str, Any]:
    """Run the harness; return the metrics, the log-probabilities of every answer, and the seconds it took."""
    arguments = {
        "--model": model,
        "--model_args": ",".join(f"{name}={value}" for name, value in model_args.items()),
        "--tasks": f"{CHOICE_TASK},{TEXT_TASK}",
        "--include_path": str(tasks),
        "--output_path": str(output),
        "--batch_size": "1",
        "--device": "cpu",
    }
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tasks / "hf")}
    command = [python, "-m", "lm_eval", "run", *(word for pair in arguments.items() for word in pair), "--log_samples"]
    begin = time.perf_counter()
    done = subprocess.run(command, env=offline, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"lm_eval with {model} failed:\n{done.stderr[-4000:]}")
    seconds = time.perf_counter() - begin
    results = json.loads(next(output.rglob("results_*.json")).read_text())["results"]
    return {
        "accuracy": results[CHOICE_TASK]["acc,none"],
        "word_perplexity": results[TEXT_TASK]["word_perplexity,none"],
        "bits_per_byte": results[TEXT_TASK]["bits_per_byte,none"],
        "seconds": round(seconds, 1),
        "answers": [[float(answer[0][0]) for answer in row["resps"]] for row in _samples(output, CHOICE_TASK)],
        "text": [float(row["resps"][0][0]) for row in _samples(output, TEXT_TASK)],
    }


def _samples(output: Path, task: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in next(output.rglob(f"samples_{task}_*.jsonl")).read_text().splitlines()]
    return sorted(rows, key=lambda row: int(row["doc_id"]))


def compare(over_http: dict[str, Any], reference: dict[str, Any], *, num_text_tokens: int) -> dict[str, Any]:
    """Return the largest differences of log-probabilities, of an answer and of a token of the text."""
    answers = [
        abs(ours - theirs)
        for pair in zip(over_http.pop("answers"), reference.pop("answers"), strict=True)
        for ours, theirs in zip(*pair, strict=True)
    ]
    texts = zip(over_http.pop("text"), reference.pop("text"), strict=True)
    text = max(abs(ours - theirs) / num_text_tokens for ours, theirs in texts)
    return {
        "num_answers": len(answers),
        "num_text_tokens": num_text_tokens,
        "max_answer_logprob_difference": max(answers),
        "text_logprob_difference_per_token": text,
        "max_logprob_difference": max([*answers, text]),
        "target": TARGET,
    }


def main() -> int:
    """Run both, compare, and print; return 1 if they differ by more than the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("~/.cache/openhearth/models").expanduser())
    parser.add_argument("--items", type=int, default=64, help="how many sums")
    chosen = parser.parse_args()
    python = peer_python("lm-eval", PACKAGES)
    with tempfile.TemporaryDirectory() as scratch:
        tasks = Path(scratch)
        write_tasks(tasks, num_items=chosen.items)
        with serving(chosen.models) as url:
            model = chosen.models / DEFAULT_TEXT_MODEL
            over_http = evaluate(
                python,
                tasks,
                tasks / "http",
                "local-completions",
                {
                    "model": DEFAULT_TEXT_MODEL,
                    "base_url": f"{url}/v1/completions",
                    "tokenizer_backend": "huggingface",
                    "tokenizer": model,
                    "max_length": MAX_LENGTH,
                    "num_concurrent": 4,
                },
            )
        reference = evaluate(
            python,
            tasks,
            tasks / "hf",
            "hf",
            {"pretrained": model, "dtype": "float32", "max_length": MAX_LENGTH},
        )
    tokens = Tokenizer.from_file(str(model / "tokenizer.json")).encode(TEXT.read_text(encoding="utf-8")).ids
    agreement = compare(over_http, reference, num_text_tokens=len(tokens))
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    print(json.dumps({"openhearth": over_http, "hf": reference, "agreement": agreement, "machine": machine}))
    return int(agreement["max_logprob_difference"] > TARGET)


if __name__ == "__main__":
    sys.exit(main())
