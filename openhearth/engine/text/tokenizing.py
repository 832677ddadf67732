"""The part of a text engine that makes prompts, for those that have the model's tokenizer at hand.

Leaves computing to the engine, wherever that happens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openhearth.chat_template import ChatTemplate, ToolCallFormat
from openhearth.engine.base import SamplingParams
from openhearth.engine.text.limits import check_prompt, check_vocabulary
from openhearth.engine.text.tokenizer import Tokenizer
from openhearth.errors import NotFoundError


class TokenizingEngine:
    """Reads and renders prompts; see `engine/base.py` for what each method promises."""

    def __init__(self, directory: Path, *, vocab_size: int | None, max_model_len: int) -> None:
        """Read the tokenizer and the chat template of a Hugging Face directory. Raises `ModelLoadError`."""
        self._tokenizer = Tokenizer(directory, vocab_size=vocab_size)
        self._vocabulary = self._tokenizer.vocabulary
        self._chat_template = ChatTemplate.from_directory(directory)
        self._max_model_len = max_model_len

    @property
    def max_model_len(self) -> int:
        """The most tokens that a prompt and its completion may have together."""
        return self._max_model_len

    @property
    def tool_call_format(self) -> ToolCallFormat:
        """How the model writes the calls of tools."""
        written = self._chat_template.tool_call_format if self._chat_template else ToolCallFormat()
        return replace(written, are_tokens=self._tokenizer.fast.token_to_id(written.begin) is not None)

    async def encode(self, text: str, *, suffix: str | None = None) -> list[int]:
        """Return the token ids of a prompt."""
        return await self._tokenizer.encode(text, suffix=suffix)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of `token_ids`, special tokens included."""
        check_vocabulary(token_ids, self._vocabulary.size, param="prompt")
        return self._vocabulary.decode(token_ids)

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """Return the prompt that asks for the next message."""
        if self._chat_template is None:
            raise NotFoundError("This model has no chat template; it continues texts but cannot chat.", param="model")
        text = self._chat_template.render(messages, tools=tools)
        return await self._tokenizer.encode(text, add_special_tokens=False)

    def _check_prompt(self, prompt_token_ids: Sequence[int], params: SamplingParams) -> None:
        check_prompt(prompt_token_ids, params, vocab_size=self._vocabulary.size, max_model_len=self._max_model_len)
