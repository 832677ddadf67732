"""What servers count at the end of a stream, each in its own way."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openhearth.engine.base import SamplingParams
from openhearth.engine.remote.client import RemoteClient
from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.remote.engine import RemoteTextEngine
from tests.tiny_models import build_tiny_model

Event = dict[str, Any]


def end(index: int, **members: Any) -> Event:
    """Return the event that ends a candidate."""
    return {"choices": [{"index": index, "text": "a", "logprobs": None, "finish_reason": "length"}], **members}


TOTAL: list[Event] = [end(0), end(1), {"choices": [], "usage": {"completion_tokens": 16}}]
ONE_BY_ONE: list[Event] = [end(i, usage={"completion_tokens": 8}) for i in (1, 0)]
BOTH: list[Event] = [*ONE_BY_ONE, {"choices": [], "usage": {"completion_tokens": 16}}]


@pytest.mark.parametrize("events", [TOTAL, ONE_BY_ONE, BOTH], ids=["total", "one by one", "both"])
async def test_all_candidates_count(events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last output counts the tokens of all candidates, whether a server adds them up (vLLM) or not (llama.cpp)."""

    async def stream(_client: RemoteClient, _members: Event) -> AsyncIterator[Event]:
        for event in events:
            yield event

    monkeypatch.setattr(RemoteClient, "stream", stream)
    config = RemoteConfig(base_url="http://127.0.0.1:9/v1", model="theirs", tokenizer=build_tiny_model(tmp_path))
    engine = RemoteTextEngine(config)

    outputs = [output async for output in engine.generate([5], SamplingParams(n=2, max_tokens=8))]

    assert outputs[-1].num_output_tokens == 16
    assert engine.stats().generation_tokens == 16
    await engine.close()
