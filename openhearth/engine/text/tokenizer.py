"""The model's own tokenizer: text to token ids, and what its special tokens are for."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from openhearth.engine.text.vocabulary import Vocabulary
from openhearth.errors import ModelLoadError, UnsupportedParameterError

_LONG_TEXT = 20_000
"""Characters from which encoding takes long enough to leave the event loop."""

_FILL_IN_THE_MIDDLE = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
)
"""The markers models were trained with (https://arxiv.org/abs/2207.14255), in prefix-suffix-middle order."""


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return content


class Tokenizer:
    """Encodes prompts; safe to use from several threads."""

    def __init__(self, model: Path, *, vocab_size: int | None) -> None:
        """Read `tokenizer.json` of a Hugging Face directory; raises `ModelLoadError` if there is none.

        `vocab_size` is that of the model, which may be more than its tokenizer fills; `None` takes the tokenizer's.
        """
        if not (model / "tokenizer.json").is_file():
            raise ModelLoadError(f"{model} has no tokenizer.json; convert its tokenizer to that format first.")
        self.fast = FastTokenizer.from_file(str(model / "tokenizer.json"))
        self.fast.no_truncation()
        self.fast.no_padding()
        self.vocabulary = Vocabulary(self.fast, size=vocab_size or self.fast.get_vocab_size())
        self.eos_token_ids = self._find_eos_token_ids(model)
        self._document_start = self._find_document_start(model)

    async def encode(self, text: str, *, suffix: str | None = None, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a prompt; with a `suffix`, arranged for filling in the middle.

        Raises `UnsupportedParameterError` if there is a suffix and the model knows no such arrangement.
        """
        if len(text) + len(suffix or "") < _LONG_TEXT:
            return self._encode(text, suffix, add_special_tokens)
        return await asyncio.to_thread(self._encode, text, suffix, add_special_tokens)

    def _encode(self, text: str, suffix: str | None, add_special_tokens: bool) -> list[int]:
        if suffix is None:
            token_ids: list[int] = self.fast.encode(text, add_special_tokens=add_special_tokens).ids
            return token_ids or self._document_start
        before, between, after = self._fill_in_the_middle_ids()
        bare = [self.fast.encode(part, add_special_tokens=False).ids for part in (text, suffix)]
        return [before, *bare[0], between, *bare[1], after]

    def _fill_in_the_middle_ids(self) -> list[int]:
        for markers in _FILL_IN_THE_MIDDLE:
            found = [self.fast.token_to_id(marker) for marker in markers]
            known = [token_id for token_id in found if token_id is not None]
            if len(known) == len(markers):
                return known
        raise UnsupportedParameterError(
            "This model has no fill-in-the-middle tokens, so it cannot take a 'suffix'. Leave it out or use another "
            "model.",
            param="suffix",
        )

    def _find_document_start(self, model: Path) -> list[int]:
        """Return the token that stands for the beginning of a document, where there is no other to continue."""
        between_documents = self.fast.token_to_id("<|endoftext|>")
        declared = _read_json(model / "config.json").get("bos_token_id")
        choices = [between_documents, declared, *sorted(self.eos_token_ids)]
        return [token_id for token_id in choices if token_id is not None][:1]

    def _find_eos_token_ids(self, model: Path) -> frozenset[int]:
        for name in ("generation_config.json", "config.json"):
            declared = _read_json(model / name).get("eos_token_id")
            if declared is not None:
                return frozenset(declared if isinstance(declared, list) else [declared])
        token = _read_json(model / "tokenizer_config.json").get("eos_token")
        content = token.get("content") if isinstance(token, dict) else token
        token_id = self.fast.token_to_id(content) if content else None
        return frozenset() if token_id is None else frozenset([token_id])
