"""What a job makes of its rows: tools, weights, the older words, rows that are too long, and how it is all measured."""

from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.api.test_fine_tuning import TINY, has_ended, upload, wait
from tests.api.test_fine_tuning import trainer as trainer
from tests.api.test_fine_tuning import tuner as tuner

USER = {"role": "user", "content": "what is 2+2?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
EVERYTHING: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "system", "content": "Calculate."},
            USER,
            {"role": "assistant", "content": "five", "weight": 0},
            {"role": "user", "content": [{"type": "text", "text": "no"}]},
            {"role": "assistant", "tool_calls": [CALL], "weight": 1},
            {"role": "tool", "tool_call_id": "call_1", "content": "4"},
            {"role": "assistant", "content": "four"},
        ],
        "tools": [TOOL],
        "parallel_tool_calls": False,
    },
    {
        "messages": [
            {"role": "developer", "content": "Calculate."},
            USER,
            {"role": "assistant", "content": None, "function_call": CALL["function"]},
            {"role": "function", "name": "add", "content": "4"},
            {"role": "assistant", "refusal": "I would rather not."},
        ],
        "functions": [TOOL["function"]],
    },
]


def plain_row(number: int, length: int = 3) -> dict[str, Any]:
    """Return a row whose answer has so many letters."""
    return {
        "messages": [
            {"role": "user", "content": f"row {number}"},
            {"role": "assistant", "content": "a" * length},
        ]
    }


def preference(number: int, names: tuple[str, str], length: int = 3) -> dict[str, Any]:
    """Return a row with two answers of so many letters, in the older words or in today's."""
    texts = ("a" * length, "b" * length)
    answers = ([{"role": "assistant", "content": text}] for text in texts)
    messages = [{"role": "user", "content": f"row {number}"}]
    return {
        "input": {"messages": messages, "tools": [], "parallel_tool_calls": True},
        **dict(zip(names, answers, strict=True)),
    }


TODAY = ("preferred_output", "non_preferred_output")
OLDER = ("preferred_completion", "non_preferred_completion")


def run(client: OpenAI, rows: list[Any], **options: Any) -> FineTuningJob:
    """Run a job to its end, which has to be a good one."""
    job = client.fine_tuning.jobs.create(model=TINY, training_file=upload(client, rows), **options)
    job = wait(client, job.id, has_ended)
    assert job.status == "succeeded", job.error
    return job


def metrics(client: OpenAI, job: FineTuningJob) -> list[dict[str, Any]]:
    """Return the data of all metrics events, oldest first."""
    events = client.fine_tuning.jobs.list_events(job.id, limit=100)
    return [dict(event.data) for event in events if event.type == "metrics"][::-1]  # type: ignore[call-overload]


def test_every_role(tuner: OpenAI) -> None:
    """Every role, tool calls in both words, refusals, weights and parts are trained on."""
    rows = [*EVERYTHING, *(plain_row(number) for number in range(8))]

    job = run(tuner, rows, hyperparameters={"n_epochs": 1, "batch_size": 5})

    assert [step["step"] for step in metrics(tuner, job)] == [1, 2]


def test_nothing_to_learn(tuner: OpenAI) -> None:
    """Rows whose answers all have the weight 0 change nothing, their loss is 0, and a warning counts them."""
    row = {"messages": [USER, {"role": "assistant", "content": "five", "weight": 0}]}

    job = run(tuner, [row] * 10, hyperparameters={"n_epochs": 1, "batch_size": 5})

    assert [step["train_loss"] for step in metrics(tuner, job)] == [0, 0]
    warnings = [event.message for event in tuner.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]
    assert [message.partition(":")[0] for message in warnings] == ["10 example(s) train nothing"]


def test_too_long(tuner: OpenAI) -> None:
    """Rows beyond the context of 512 are cut; one warning counts them, those for validation as well."""
    rows = [*(plain_row(number) for number in range(9)), plain_row(9, 600), plain_row(10, 700)]
    validation = upload(tuner, [plain_row(number, 800 if number == 20 else 4) for number in range(20, 30)])

    job = run(tuner, rows, validation_file=validation, hyperparameters={"n_epochs": 2, "batch_size": 11})

    warnings = [event for event in tuner.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]
    assert [event.message.partition(" are ")[0] for event in warnings] == ["3 example(s)"]
    assert job.trained_tokens
    assert job.trained_tokens < 2 * (2 * 512 + 9 * 60)


def test_images(tuner: OpenAI) -> None:
    """Rows with images are skipped, and counted in one warning; the others are trained."""
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/unreachable.png", "detail": "low"}}
    showing = {"messages": [{"role": "user", "content": [image]}, {"role": "assistant", "content": "a lamp"}]}
    rows = [showing, *(plain_row(number) for number in range(10)), showing]

    job = run(tuner, rows, hyperparameters={"n_epochs": 1, "batch_size": 5})

    assert len(metrics(tuner, job)) == 2
    warnings = [event.message for event in tuner.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]
    assert warnings == ["2 example(s) have images, which the model cannot see, and were skipped."]


def test_seed(tuner: OpenAI) -> None:
    """A seed is drawn where none is given, shown in the job, and gives the same steps again."""
    rows = [plain_row(number, number + 1) for number in range(12)]
    options: Any = {"hyperparameters": {"n_epochs": 1, "batch_size": 3}}

    first = run(tuner, rows, **options)
    again = run(tuner, rows, seed=first.seed, **options)
    other = run(tuner, rows, seed=(first.seed + 1) % 2**31, **options)

    assert 0 <= first.seed < 2**31
    assert metrics(tuner, again) == metrics(tuner, first)
    assert metrics(tuner, other) != metrics(tuner, first)


@pytest.mark.parametrize("names", [TODAY, OLDER])
def test_preferences(tuner: OpenAI, names: tuple[str, str]) -> None:
    """Both spellings are trained on, cut where they are too long, and measured on a validation file."""
    rows = [preference(number, names, 600 if number == 3 else 3) for number in range(10)]
    validation = upload(tuner, [preference(number, names) for number in range(20, 30)])
    hyperparameters = {"n_epochs": 2, "batch_size": 10, "learning_rate_multiplier": 20}
    method = {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}

    job = run(tuner, rows, validation_file=validation, method=method)

    first, second = metrics(tuner, job)
    assert first["train_loss"] == pytest.approx(0.6931, abs=1e-3)  # log 2: the reference prefers neither
    assert second["full_valid_loss"] < first["full_valid_loss"] < 0.6931
    assert 0 <= second["full_valid_mean_token_accuracy"] <= 1
    assert job.to_dict()["hyperparameters"] is None
    assert job.method is not None
    assert job.method.dpo is not None
    assert job.method.dpo.hyperparameters is not None
    assert job.method.dpo.hyperparameters.beta == 0.1
    warnings = [event.message for event in tuner.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]
    assert [message.partition(" are ")[0] for message in warnings] == ["1 example(s)"]
