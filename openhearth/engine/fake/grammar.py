"""Grammars over the byte model, by llguidance: which tokens may come next."""

from functools import cache
from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from openhearth.engine.fake import model
from openhearth.errors import BadRequestError


class _ByteTokenizer:
    """The byte vocabulary, as llguidance wants to see a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    eos_token_id = model.END_OF_TEXT
    special_token_ids = (model.END_OF_TEXT,)
    tokens = tuple(map(model.token_bytes, range(model.VOCABULARY_SIZE)))

    def __call__(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return list(text.encode())


def start(grammar: str) -> Any:
    """Return a matcher at the beginning of a grammar; raises `BadRequestError` if it is none."""
    matcher = llguidance.LLMatcher(_tables(), grammar)
    if matcher.is_error():
        raise BadRequestError(f"The grammar cannot be used: {matcher.get_error()}")
    return matcher


def allowed(matcher: Any) -> npt.NDArray[np.bool_]:
    """Return which tokens may come next, `[VOCABULARY_SIZE]`."""
    return np.frombuffer(matcher.compute_logit_bias(), dtype=np.uint8)[: model.VOCABULARY_SIZE] > 0


def advance(matcher: Any, token_id: int) -> bool:
    """Take a token; return whether nothing can follow any more."""
    matcher.consume_token(token_id)
    return bool(matcher.is_stopped())


@cache
def _tables() -> Any:
    return llguidance.LLTokenizer(_ByteTokenizer())
