"""The tokens of a remote server's answers: from any of the forms servers write them in to ids and bytes.

The reference shows a token by its surface form; vLLM can show `token_id:17` in its place; llama.cpp's server gives a
list of objects that have an `id`.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from openhearth.engine.base import TokenLogprob
from openhearth.engine.text.vocabulary import Vocabulary, surface_form
from openhearth.errors import ServiceUnavailableError

_ID_PREFIX = "token_id:"


class TokenReader:
    """Reads the `logprobs` member of a choice."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def read(self, logprobs: Mapping[str, Any] | None, num_alternatives: int) -> list[TokenLogprob]:
        """Return the tokens, each with at most `num_alternatives`, likeliest first.

        Raises `ServiceUnavailableError` for a token that is not in the vocabulary.
        """
        if logprobs is None:
            return []
        if "content" in logprobs:
            return [self._from_object(entry, num_alternatives) for entry in logprobs["content"] or ()]
        tokens, scores = logprobs["tokens"], logprobs["token_logprobs"]
        tops = logprobs.get("top_logprobs") or [None] * len(tokens)
        return [
            self._entry(self._id_of(token), score, {self._id_of(other): p for other, p in (top or {}).items()}, limit)
            for token, score, top, limit in zip(tokens, scores, tops, [num_alternatives] * len(tokens), strict=True)
        ]

    def _from_object(self, entry: Mapping[str, Any], limit: int) -> TokenLogprob:
        top = {other["id"]: other["logprob"] for other in entry.get("top_logprobs") or ()}
        return self._entry(entry["id"], entry["logprob"], top, limit)

    def _entry(self, token_id: int, score: float | None, top: Mapping[int, float], limit: int) -> TokenLogprob:
        likeliest = sorted(top, key=lambda other: top[other], reverse=True)[:limit]
        alternatives = tuple(self._vocabulary.logprob_entry(other, top[other]) for other in likeliest)
        return self._vocabulary.logprob_entry(token_id, score, alternatives)

    def _id_of(self, token: str) -> int:
        known = int(token.removeprefix(_ID_PREFIX)) if token.startswith(_ID_PREFIX) else self._ids.get(token)
        if known is None or known >= self._vocabulary.size:
            raise ServiceUnavailableError(
                f"The server behind this model gave the token {token!r}, which its tokenizer here does not have: the "
                "setting 'tokenizer' names that of another model."
            )
        return known

    @cached_property
    def _ids(self) -> dict[str, int]:
        """The id of every surface form; of tokens that look alike, one that is not special, then the first."""
        special = self._vocabulary.special_token_ids
        order = sorted(range(self._vocabulary.size), key=lambda token_id: (token_id not in special, -token_id))
        return {surface_form(self._vocabulary.token_bytes[token_id]): token_id for token_id in order}
