"""One continuation of a prompt: samples tokens, and releases text once nothing can change it any more."""

import codecs
import re
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from openhearth.engine.base import FinishReason, GenerationOutput, SamplingParams, TokenLogprob
from openhearth.engine.fake import model
from openhearth.engine.fake.grammar import advance, allowed, start

_SEED_MASK = 2**64 - 1
_QUOTED = re.compile("«([^«»]*)»".encode())


class _HeldToken(NamedTuple):
    """A token and the characters of the candidate's text that it takes part in."""

    start: int
    end: int
    token: TokenLogprob


class Candidate:
    """Grows by `advance`, one token at a time, and gives what may be shown by `take`."""

    def __init__(self, index: int, prompt: tuple[int, ...], params: SamplingParams, shift: int = 0) -> None:
        self.finish_reason: FinishReason | None = None
        self._index = index
        self._params = params
        self._shift = shift
        self._last_token_id = prompt[-1]
        self._recital = _recital(prompt)
        self._matcher = None if params.grammar is None else start(params.grammar)
        self._random = np.random.default_rng(None if params.seed is None else [params.seed & _SEED_MASK, index])
        self._counts: Counter[int] = Counter()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text = ""
        self._num_released = 0
        self._held: list[_HeldToken] = []

    def advance(self) -> int:
        """Compute one token unless the limit is reached already; return how many were computed."""
        if self._counts.total() >= self._params.max_tokens:
            self._finish("length")
            return 0
        logits = model.logits(self._last_token_id, self._shift, expected=self._recital[:1])
        logprobs = model.log_softmax(logits)
        token_id = self._sample(logits)
        self._counts[token_id] += 1
        self._last_token_id = token_id
        self._recital = self._recital[1:] if self._recital[:1] == (token_id,) else ()
        if token_id == model.END_OF_TEXT and not self._params.ignore_eos:
            self._finish("stop")
        else:
            self._append(model.token_logprob(token_id, logprobs, self._params.logprobs or 0))
        return 1

    def take(self, blank: GenerationOutput) -> GenerationOutput:
        """Return `blank`, filled with what was released since the last call."""
        end = len(self._text) if self.finish_reason else len(self._text) - self._num_characters_to_hold()
        released = [held.token for held in self._held if held.end <= end or self.finish_reason]
        self._held = self._held[len(released) :]
        text, self._num_released = self._text[self._num_released : end], end
        return replace(
            blank,
            index=self._index,
            text=text,
            token_ids=tuple(token.token_id for token in released),
            logprobs=None if self._params.logprobs is None else tuple(released),
            finish_reason=self.finish_reason,
        )

    def _sample(self, logits: model.FloatArray) -> int:
        adjusted = logits.copy()
        for token_id, bias in self._params.logit_bias.items():
            adjusted[token_id] += bias
        for token_id, count in self._counts.items():
            adjusted[token_id] -= self._params.presence_penalty + self._params.frequency_penalty * count
        if self._matcher is not None:
            adjusted[~allowed(self._matcher)] = -np.inf
        if self._params.temperature == 0:
            return int(adjusted.argmax())
        probabilities = np.exp(model.log_softmax(adjusted / self._params.temperature))
        order = np.argsort(-probabilities, kind="stable")
        before = np.cumsum(probabilities[order]) - probabilities[order]
        nucleus = order[: max(1, int((before < self._params.top_p).sum()))]
        return int(self._random.choice(nucleus, p=probabilities[nucleus] / probabilities[nucleus].sum()))

    def _append(self, token: TokenLogprob) -> None:
        start = len(self._text)
        self._text += self._decoder.decode(b"" if token.token_id == model.END_OF_TEXT else token.token_bytes)
        is_inside_character = bool(self._decoder.getstate()[0])
        self._held.append(_HeldToken(start, len(self._text) + is_inside_character, token))
        if found := [at for stop in self._params.stop if (at := self._text.find(stop)) >= 0]:
            self._text = self._text[: min(found)]
            self._held = [held for held in self._held if held.start < len(self._text)]
            self.finish_reason = "stop"
        elif self._matcher is not None and advance(self._matcher, token.token_id):
            self._finish("stop")
        elif self._counts.total() >= self._params.max_tokens:
            self._finish("length")

    def _finish(self, reason: FinishReason) -> None:
        self._text += self._decoder.decode(b"", final=True)
        self.finish_reason = reason

    def _num_characters_to_hold(self) -> int:
        """Return the length of the longest end of the text that may be the beginning of a stop sequence."""
        longest = max(map(len, self._params.stop), default=1) - 1
        ends = range(min(longest, len(self._text)), 0, -1)
        return next((n for n in ends if any(stop.startswith(self._text[-n:]) for stop in self._params.stop)), 0)


def _recital(prompt: tuple[int, ...]) -> tuple[int, ...]:
    """Return what the prompt asks to be recited, and the end of text after it; nothing if it does not ask."""
    quoted = _QUOTED.findall(b"".join(map(model.token_bytes, prompt)))
    return (*quoted[-1], model.END_OF_TEXT) if quoted else ()
