"""Chooses the next token of each row of logits, and reports log-probabilities.

Works row by row: one row of logits fits into a processor's cache, the whole batch does not.
Penalties follow the formula of the OpenAI reference: `logit - count * frequency - (count > 0) * presence`, where the
count is of tokens generated so far. Random draws invert the cumulative distribution with one uniform number per token
from a generator of the sequence's own, so that a seed gives the same text alone and inside a busy batch.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openhearth.engine.base import SamplingParams

Logits = NDArray[np.float32]

_GREEDY_TEMPERATURE = 1e-5
_BLOCK = 256


class TokenMask(Protocol):
    """What a grammar allows next; implemented over llguidance."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow."""
        ...

    def apply(self, logits: Logits) -> None:
        """Set the logits, shape `[vocab_size]`, of forbidden tokens to minus infinity, in place."""
        ...

    def accept(self, token_id: int) -> None:
        """Advance by one generated token."""
        ...


class SamplingState:
    """What sampling has to remember of one sequence."""

    def __init__(self, params: SamplingParams, index: int = 0, mask: TokenMask | None = None) -> None:
        self.params = params
        self.mask = mask
        seed = None if params.seed is None else [params.seed % 2**64, index]
        self._rng = np.random.default_rng(seed)
        self._counts: dict[int, int] = {}
        self._bias_ids = np.fromiter(params.logit_bias, dtype=np.int64)
        self._bias = np.fromiter(params.logit_bias.values(), dtype=np.float32)
        self._has_penalty = bool(params.presence_penalty or params.frequency_penalty)

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.params.temperature < _GREEDY_TEMPERATURE or self.params.top_p <= 0

    @property
    def changes_logits(self) -> bool:
        """Whether bias, penalties or a grammar act on the logits before a token is chosen."""
        return self._has_penalty or self._bias_ids.size > 0 or self.mask is not None

    @property
    def is_grammar_complete(self) -> bool:
        """Whether the completion has a grammar and has come to its end."""
        return self.mask is not None and self.mask.is_complete

    def accept(self, token_id: int) -> None:
        """Remember a generated token."""
        if self._has_penalty:
            self._counts[token_id] = self._counts.get(token_id, 0) + 1
        if self.mask is not None:
            self.mask.accept(token_id)

    def changed(self, logits: Logits) -> Logits:
        """Return a copy of one row with bias, penalties and grammar applied."""
        logits = logits.copy()
        logits[self._bias_ids] += self._bias
        if self._counts:
            token_ids = np.fromiter(self._counts, dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[token_ids] -= counts * self.params.frequency_penalty + self.params.presence_penalty
        if self.mask is not None:
            self.mask.apply(logits)
        return logits

    def uniform(self) -> float:
        """Return the next number in [0, 1) of this sequence's own generator."""
        return float(self._rng.random())


def sample(logits: Logits, states: list[SamplingState]) -> list[int]:
    """Choose one token for each row of `logits`, shape `[rows, vocab_size]`; the logits stay as they are."""
    if all(state.is_greedy and not state.changes_logits for state in states):
        return [int(token_id) for token_id in logits.argmax(axis=1)]
    return [_sample_row(row, state) for row, state in zip(logits, states, strict=True)]


def _sample_row(row: Logits, state: SamplingState) -> int:
    if state.changes_logits:
        row = state.changed(row)
    if state.is_greedy:
        return int(row.argmax())
    weights = row - row.max()
    weights *= np.float32(1 / state.params.temperature)
    np.exp(weights, out=weights)
    if state.params.top_p < 1:
        _keep_nucleus(weights, state.params.top_p)
    return _draw(weights, state.uniform())


def _keep_nucleus(weights: Logits, top_p: float) -> None:
    """Zero all but the smallest set of weights that makes up `top_p` of their sum (https://arxiv.org/abs/1904.09751).

    The largest weight is 1. Only weights above a threshold are sorted; it is lowered until they suffice.
    """
    goal = top_p * float(weights.sum(dtype=np.float64))
    threshold = 1.0
    candidates = weights[:0]
    while float(candidates.sum(dtype=np.float64)) < goal and threshold > 1e-30:
        threshold /= 16
        candidates = weights[weights >= threshold]
    candidates = np.sort(candidates)[::-1]
    last = int(np.searchsorted(np.cumsum(candidates, dtype=np.float64), goal))
    weights[weights < candidates[min(last, len(candidates) - 1)]] = 0


def _draw(weights: Logits, uniform: float) -> int:
    """Return the index at which the cumulative sum of `weights` passes `uniform` of its total.

    Sums blocks first and looks inside one block only, which spares the cumulative sum over a whole vocabulary.
    """
    num_whole = len(weights) // _BLOCK * _BLOCK
    sums = np.append(weights[:num_whole].reshape(-1, _BLOCK).sum(axis=1), weights[num_whole:].sum())
    cumulative = np.cumsum(sums, dtype=np.float64)
    target = uniform * cumulative[-1]
    block = int(np.searchsorted(cumulative, target, side="right"))
    inside = np.cumsum(weights[block * _BLOCK : (block + 1) * _BLOCK], dtype=np.float64)
    before = cumulative[block - 1] if block else 0.0
    position = block * _BLOCK + int(np.searchsorted(inside, target - before, side="right"))
    return position if position < len(weights) and weights[position] > 0 else _last_positive(weights, position)


def _last_positive(weights: Logits, position: int) -> int:
    """Rounding may step past the last token that can be drawn; return it."""
    return int(np.flatnonzero(weights[: position + 1])[-1])


def log_normalizers(logits: Logits) -> NDArray[np.float64]:
    """Return the log of the sum of exponentials of each row, shape `[rows]`."""
    peaks = logits.max(axis=1)
    sums = np.array([np.exp(row - peak).sum(dtype=np.float64) for row, peak in zip(logits, peaks, strict=True)])
    normalizers: NDArray[np.float64] = peaks + np.log(sums)
    return normalizers


def top_token_ids(row: Logits, count: int) -> list[int]:
    """Return the ids of the `count` largest logits of a row, largest first.

    Looks only into the blocks with the largest peaks: no other block can hold one of them.
    """
    if count == 0:
        return []
    num_whole = len(row) // _BLOCK * _BLOCK
    peaks = row[:num_whole].reshape(-1, _BLOCK).max(axis=1)
    blocks = np.argsort(-peaks)[:count]
    inside = (blocks[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
    candidates = np.concatenate([inside, np.arange(num_whole, len(row))])
    order = np.lexsort((candidates, -row[candidates]))[:count]
    return [int(token_id) for token_id in candidates[order]]
