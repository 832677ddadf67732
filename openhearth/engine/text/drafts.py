"""Guesses what a text goes on with, so that one step can check several tokens (prompt lookup decoding).

A step of few rows costs hardly more than a step of one: reading the weights takes the time. So the tokens that
followed the same last tokens earlier in a text are computed along with its last token; those that the sampler then
chooses anyway are kept, up to the first that it does not. What comes out is what would have come out without guessing.
Sources: speculative decoding, https://arxiv.org/abs/2211.17192; n-grams as the draft model as in vLLM,
https://docs.vllm.ai/en/latest/features/spec_decode.html.
"""

from collections.abc import Iterable
from itertools import cycle, islice

NGRAM_SIZE = 3
"""How many last tokens must have stood in the text before."""


class NgramProposer:
    """Knows where each n-gram of one text ended last."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._end_of_ngram: dict[tuple[int, ...], int] = {}

    @property
    def num_tokens(self) -> int:
        """How much of the text is known."""
        return len(self._tokens)

    def extend(self, token_ids: Iterable[int]) -> None:
        """Learn the tokens that follow those known; the n-gram at the very end is not looked up in itself."""
        for token_id in token_ids:
            if len(self._tokens) >= NGRAM_SIZE:
                self._end_of_ngram[self._last_ngram()] = len(self._tokens)
            self._tokens.append(token_id)

    def propose(self, count: int) -> tuple[int, ...]:
        """Return the `count` tokens that followed the last n-gram where it stood before; none if it never did.

        Where they reach the end of the text, it is taken to repeat itself.
        """
        end = self._end_of_ngram.get(self._last_ngram())
        return () if end is None else tuple(islice(cycle(self._tokens[end : end + count]), count))

    def _last_ngram(self) -> tuple[int, ...]:
        return tuple(self._tokens[-NGRAM_SIZE:])
