"""Grammars that a completion has to follow, by llguidance: which tokens may come next."""

from functools import cached_property
from threading import Lock
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
from numpy.typing import NDArray

from openhearth.engine.text.tokenizer import Tokenizer
from openhearth.errors import BadRequestError


class GrammarMask:
    """One sequence's place in a grammar."""

    def __init__(self, tokenizer: Any, grammar: str) -> None:
        """Compile a grammar; raises `BadRequestError` if llguidance rejects it."""
        self._matcher = llguidance.LLMatcher(tokenizer, grammar)
        if self._matcher.is_error():
            raise BadRequestError(f"The schema or grammar cannot be used: {self._matcher.get_error()}")
        self._bitmask = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Forbid what the grammar does not allow next; `logits` has the shape `[vocab_size]` and changes in place."""
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bitmask)
        llguidance.numpy.apply_token_bitmask_inplace(logits.reshape(1, -1), self._bitmask)

    def accept(self, token_id: int) -> None:
        """Advance by one generated token."""
        self._matcher.consume_token(token_id)


class Grammars:
    """Compiles grammars for one tokenizer, whose tables are made when the first grammar comes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = Lock()

    def prepare(self) -> None:
        """Make the tables; takes most of a second the first time, and is safe in any thread."""
        with self._lock:
            self._tables  # noqa: B018

    @cached_property
    def _tables(self) -> Any:
        eos = sorted(self._tokenizer.eos_token_ids) or None
        size = self._tokenizer.vocabulary.size
        return llguidance.LLTokenizer(self._tokenizer.fast.to_str(), n_vocab=size, eos_token=eos)

    def compile(self, grammar: str) -> GrammarMask:
        """Return a fresh mask at the beginning of `grammar`."""
        return GrammarMask(self._tables, grammar)
