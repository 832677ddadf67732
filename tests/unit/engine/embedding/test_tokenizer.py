"""Texts to token ids."""

import json
from pathlib import Path

import pytest

from openhearth.engine.embedding.tokenizer import Tokenizer
from openhearth.errors import ModelLoadError
from tests.tiny_encoders import build_tiny_encoder
from tests.tiny_models import byte_level_tokenizer


async def test_special_tokens(tmp_path: Path) -> None:
    """Each text stands between the tokens that the model wants around it."""
    (ids,) = await Tokenizer(build_tiny_encoder(tmp_path)).encode(["fox"])

    assert ids == [1, *byte_level_tokenizer().encode("fox").ids, 2]


async def test_many_texts(tmp_path: Path) -> None:
    """Many texts come back in their order, as each of them would alone."""
    tokenizer = Tokenizer(build_tiny_encoder(tmp_path))
    texts = [f"text number {number}" for number in range(300)]

    together = await tokenizer.encode(texts)

    assert together == [(await tokenizer.encode([text]))[0] for text in texts]


async def test_prompt(tmp_path: Path) -> None:
    """The model's prompt comes before every text."""
    model = build_tiny_encoder(tmp_path)

    assert await Tokenizer(model, prompt="query: ").encode(["fox"]) == await Tokenizer(model).encode(["query: fox"])


async def test_missing_end(tmp_path: Path) -> None:
    """An end that only the configuration asks for is added, once."""
    byte_level_tokenizer().save(str(tmp_path / "tokenizer.json"))
    config = {"add_eos_token": True, "eos_token": {"content": "<|im_end|>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(tmp_path)

    assert [ids[-2:].count(2) for ids in await tokenizer.encode(["fox", "fox<|im_end|>"])] == [1, 1]


def test_missing_tokenizer(tmp_path: Path) -> None:
    """A model without a fast tokenizer is refused by a sentence."""
    with pytest.raises(ModelLoadError, match=r"no tokenizer\.json"):
        Tokenizer(tmp_path)
