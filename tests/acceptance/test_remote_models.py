"""Two servers as processes: one computes, the other answers for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import APIStatusError, BadRequestError, OpenAI

from tests.acceptance.commands import Installation, ServingProcess, serving
from tests.tiny_models import build_tiny_model


@pytest.fixture(scope="module")
def computing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """Run a server with a tiny model."""
    root = tmp_path_factory.mktemp("computing")
    model = build_tiny_model(root / "models" / "tiny")
    settings = {"OPENHEARTH_TEXT_MODEL": model.name, "OPENHEARTH_DTYPE": "f32", "OPENHEARTH_KV_CACHE_BYTES": "16777216"}
    with serving(Installation(root, settings)) as server:
        yield server


@pytest.fixture(scope="module")
def installation(computing: ServingProcess, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Give an installation whose only text model is the other server's, in two dialects."""
    root = tmp_path_factory.mktemp("answering")
    tokenizer = build_tiny_model(root / "tokenizer")
    (tokenizer / "model.safetensors").unlink()
    remote = {"base_url": f"{computing.url}/v1/extended", "model": "tiny", "tokenizer": str(tokenizer)}
    remotes = {
        "my-gpu": remote | {"dialect": "vllm"},
        "plain": remote | {"base_url": f"{computing.url}/v1", "max_model_len": 512},
        "lost": remote | {"model": "not there"},
    }
    return Installation(root, {"OPENHEARTH_TEXT_MODEL": "my-gpu", "OPENHEARTH_REMOTES": json.dumps(remotes)})


@pytest.fixture(scope="module")
def client(installation: Installation) -> Iterator[OpenAI]:
    """Give a client of the server that answers."""
    with serving(installation) as server:
        yield server.client()


def test_listed(client: OpenAI, installation: Installation) -> None:
    """A remote model stands among the models, over HTTP and on the command line."""
    listed = {model.id: model.owned_by for model in client.models.list()}
    [row] = [line for line in installation.run("models").stdout.splitlines() if line.startswith("plain")]

    assert listed["my-gpu"] == "remote"
    assert row.split() == ["plain", "text", "remote", "512", "ready"]


@pytest.mark.parametrize("model", ["my-gpu", "plain", "gpt-4o-mini"])
def test_same_answer(client: OpenAI, computing: ServingProcess, model: str) -> None:
    """A remote model says what its server says, with the same log-probabilities and counts."""
    request = {"prompt": "The quick brown", "max_tokens": 12, "temperature": 0, "logprobs": 3, "echo": True, "n": 2}

    theirs = computing.client().completions.create(model="tiny", **request)  # type: ignore[call-overload]
    ours = client.completions.create(model=model, **request)  # type: ignore[call-overload]

    assert [choice.to_dict() for choice in ours.choices] == [choice.to_dict() for choice in theirs.choices]
    assert ours.usage.total_tokens == theirs.usage.total_tokens


def test_chat_with_a_schema(client: OpenAI) -> None:
    """A chat with a remote model can be held to a JSON schema, which travels as a grammar."""
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    chat = client.chat.completions.create(
        model="my-gpu",
        messages=[{"role": "user", "content": "One or two?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}},
        max_tokens=100,
    )

    assert json.loads(chat.choices[0].message.content or "")["a"] in (1, 2)


def test_what_the_remote_cannot_do(client: OpenAI) -> None:
    """What the other server has no words for is refused by name, and what it does not have is told apart from that."""
    with pytest.raises(APIStatusError) as refused:
        client.chat.completions.create(
            model="plain",
            messages=[{"role": "user", "content": "In JSON, please."}],
            response_format={"type": "json_object"},
        )
    with pytest.raises(APIStatusError) as lost:
        client.completions.create(model="lost", prompt="a")

    assert (refused.value.status_code, refused.value.param) == (400, "response_format")
    assert (lost.value.status_code, lost.value.type) == (503, "server_error")
    assert "no such model" in lost.value.message


def test_is_not_trained(client: OpenAI) -> None:
    """Its weights are elsewhere."""
    rows = b'{"prompt": "a", "completion": "b"}\n' * 10
    file = client.files.create(file=("rows.jsonl", rows), purpose="fine-tune")

    with pytest.raises(BadRequestError, match="computed by another server") as refused:
        client.fine_tuning.jobs.create(model="plain", training_file=file.id)

    assert (refused.value.param, refused.value.code) == ("model", "invalid_value")


def test_setting_that_does_not_fit(tmp_path: Path) -> None:
    """A mistake in the settings of a remote stops the command with a sentence that names it."""
    settings = {"OPENHEARTH_REMOTES": '{"my-gpu": {"base_url": "gpu:8000", "model": "m", "tokenizer": "/t"}}'}

    ended = Installation(tmp_path, settings).run("models")

    assert ended.returncode == 2
    assert "remotes.my-gpu.base_url" in ended.stderr
