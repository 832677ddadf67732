"""The model's own tokenizer: many texts to token ids at once, with the special tokens that the model wants."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from openhearth.errors import ModelLoadError

_FEW_TEXTS, _SHORT_TEXT = 4, 4_000
"""Texts and characters up to which encoding is quicker than a change of threads."""

_TEXTS_AT_ONCE = 128
"""How many texts are encoded before a caller that has gone is noticed."""


class Tokenizer:
    """Encodes texts, each behind the model's `prompt`; safe to use from several threads."""

    def __init__(self, model: Path, *, prompt: str = "") -> None:
        """Read `tokenizer.json` of a Hugging Face directory; raises `ModelLoadError` if there is none."""
        if not (model / "tokenizer.json").is_file():
            raise ModelLoadError(f"{model} has no tokenizer.json; convert its tokenizer to that format first.")
        self._fast = FastTokenizer.from_file(str(model / "tokenizer.json"))
        self._fast.no_truncation()
        self._fast.no_padding()
        self._prompt = prompt
        self._eos_token_id = self._missing_eos_token_id(model)

    async def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text. Stops early for a caller that is cancelled."""
        if len(texts) <= _FEW_TEXTS and sum(map(len, texts)) <= _SHORT_TEXT:
            return self._encode(texts)
        token_ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            token_ids += await asyncio.to_thread(self._encode, texts[start : start + _TEXTS_AT_ONCE])
        return token_ids

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        whole = [self._prompt + text for text in texts]
        # Several texts go to the library's own threads, which one text would only wait for.
        encodings = [self._fast.encode(whole[0])] if len(whole) == 1 else self._fast.encode_batch_fast(whole)
        return [self._ended(encoding.ids) for encoding in encodings]

    def _ended(self, token_ids: list[int]) -> list[int]:
        if self._eos_token_id is not None and token_ids[-1:] != [self._eos_token_id]:
            token_ids.append(self._eos_token_id)
        return token_ids

    def _missing_eos_token_id(self, model: Path) -> int | None:
        """Return the token that the configuration wants at the end, which not every `tokenizer.json` puts there."""
        file = model / "tokenizer_config.json"
        config: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
        if not config.get("add_eos_token"):
            return None
        token = config.get("eos_token")
        content = token.get("content") if isinstance(token, dict) else token
        token_id: int | None = self._fast.token_to_id(content) if content else None
        return token_id


def default_prompt(model: Path) -> str:
    """Return what a model puts before every text, as its sentence-transformers files say; nothing without them."""
    file = model / "config_sentence_transformers.json"
    config: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
    prompt: str = (config.get("prompts") or {}).get(config.get("default_prompt_name"), "")
    return prompt
