"""A server that has memory for one of its two models at a time."""

import json
from collections.abc import Iterator

import pytest
from openai import APIStatusError, InternalServerError, OpenAI

from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.memory import estimate_bytes
from tests.acceptance.commands import Installation, serving
from tests.tiny_models import build_tiny_model

CONFIG = EngineConfig(dtype="f32", kv_cache_bytes=2**24)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Give a client of a server with two tiny models, and one whose configuration claims to be too large."""
    root = tmp_path_factory.mktemp("two")
    models = [build_tiny_model(root / "models" / name, seed=seed) for seed, name in enumerate(("one", "two", "large"))]
    claim = json.loads((models[2] / "config.json").read_text()) | {"intermediate_size": 10**9}
    (models[2] / "config.json").write_text(json.dumps(claim))
    settings = {
        "TEXT_MODEL": "one",
        "ALIASES": "{}",
        "DTYPE": CONFIG.dtype,
        "KV_CACHE_BYTES": str(CONFIG.kv_cache_bytes),
        "MODEL_MEMORY_BYTES": str(int(1.5 * estimate_bytes(models[0], CONFIG))),
    }
    with serving(Installation(root, {f"OPENHEARTH_{name}": value for name, value in settings.items()})) as server:
        yield server.client()


def say(client: OpenAI, model: str) -> str:
    """Return what a model says."""
    return client.completions.create(model=model, prompt="The quick", max_tokens=8, temperature=0).choices[0].text


def loaded(client: OpenAI) -> set[str]:
    """Return the models that the metrics know."""
    lines = client._client.get(f"{str(client.base_url).removesuffix('v1/')}metrics").text.splitlines()
    return {line.split('"')[1] for line in lines if line.startswith("openhearth:num_requests_running{")}


def test_models_take_turns(client: OpenAI) -> None:
    """Each model is loaded when it is asked for, the other one goes, and both say what they always say."""
    first = say(client, "one")
    second = say(client, "two")
    after_second = loaded(client)

    assert say(client, "one") == first != second
    assert (after_second, loaded(client)) == ({"two"}, {"one"})


def test_model_in_use_stays(client: OpenAI) -> None:
    """While a stream runs, its model stays, and who needs its room is turned away with a reason."""
    with client.completions.create(model="one", prompt="a", max_tokens=900, temperature=0, stream=True) as events:
        next(iter(events))
        with pytest.raises(InternalServerError) as caught:
            say(client, "two")
        still = loaded(client)

    assert caught.value.status_code == 503
    assert "in use" in caught.value.message
    assert still == {"one"}


def test_too_large(client: OpenAI) -> None:
    """A model that could never fit is refused with what it needs, and the one that is there goes on."""
    before = say(client, "one")

    with pytest.raises(APIStatusError, match="model_memory_bytes"):
        say(client, "large")

    assert loaded(client) == {"one"}
    assert say(client, "one") == before
