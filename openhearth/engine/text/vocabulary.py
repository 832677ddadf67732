"""The bytes behind every token id: what a token adds to the text, whatever its neighbours are.

Covers the two families in use: byte-level BPE (GPT-2's table of printable stand-ins for bytes) and SentencePiece
vocabularies with byte fallback. Both make a text by concatenating the bytes of its tokens, so that generated text,
surface forms of log-probabilities and text offsets all follow from this one table.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property

from tokenizers import Tokenizer

from openhearth.chat_template import ToolCallFormat
from openhearth.engine.base import TokenLogprob

_MARKS = frozenset({ToolCallFormat().begin, ToolCallFormat().end})
"""Tokens that some tokenizers call special, although what they mark is read from the text."""

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_level_alphabet() -> dict[str, int]:
    """Return the byte behind each character of GPT-2's printable alphabet (Radford et al. 2019, `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    alphabet = {chr(byte): byte for byte in printable}
    hidden = (byte for byte in range(256) if byte not in set(printable))
    return alphabet | {chr(256 + position): byte for position, byte in enumerate(hidden)}


def surface_form(token_bytes: bytes) -> str:
    """Return a token as the completions reference shows it: its text, or `bytes:\\xNN…` if it is not UTF-8 alone."""
    try:
        return token_bytes.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token_bytes)


class Vocabulary:
    """Token ids of one tokenizer, their bytes, and which of them are special."""

    def __init__(self, tokenizer: Tokenizer, *, size: int) -> None:
        self.size = size
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.special_token_ids = frozenset(
            token_id for token_id, token in added.items() if token.special and token.content not in _MARKS
        )
        self._added = {token_id: token.content.encode() for token_id, token in added.items()}

    def prepare(self) -> None:
        """Make the table now, so that the first request does not wait for it."""
        self.token_bytes  # noqa: B018

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every token, special tokens as their own names; shape `[size]`."""
        decode = self._decode_byte_level if self._is_byte_level else self._decode_sentencepiece
        table = [b""] * self.size
        for token, token_id in self._tokenizer.get_vocab(with_added_tokens=False).items():
            if token_id < self.size:
                table[token_id] = decode(token)
        for token_id, content in self._added.items():
            if token_id < self.size:
                table[token_id] = content
        return table

    @cached_property
    def _is_byte_level(self) -> bool:
        decoder = json.loads(self._tokenizer.to_str()).get("decoder") or {}
        members = decoder.get("decoders", [decoder])
        return any(member.get("type") == "ByteLevel" for member in members)

    @cached_property
    def _alphabet(self) -> dict[str, int]:
        return _byte_level_alphabet()

    def _decode_byte_level(self, token: str) -> bytes:
        try:
            return bytes(self._alphabet[character] for character in token)
        except KeyError:
            return token.encode()

    @staticmethod
    def _decode_sentencepiece(token: str) -> bytes:
        fallback = _BYTE_FALLBACK.fullmatch(token)
        if fallback:
            return bytes([int(fallback[1], 16)])
        return token.replace("▁", " ").encode()

    def logprob_entry(
        self, token_id: int, logprob: float | None, alternatives: tuple[TokenLogprob, ...] = ()
    ) -> TokenLogprob:
        """Return a token with its surface form and how likely it was."""
        token_bytes = self.token_bytes[token_id]
        return TokenLogprob(surface_form(token_bytes), token_id, token_bytes, logprob, alternatives)

    def text_bytes(self, token_id: int) -> bytes:
        """Return what a generated token adds to the text: nothing for a special token."""
        return b"" if token_id in self.special_token_ids else self.token_bytes[token_id]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of `token_ids`, special tokens by name; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes[token_id] for token_id in token_ids).decode("utf-8", "replace")
