"""What a candidate of a completion looks like on the wire: the prompt echoed before it, log-probabilities, offsets."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from openhearth.engine.base import FinishReason, TokenLogprob
from openhearth.schemas.completions import CompletionChoice, Logprobs
from openhearth.services.candidates import Tokens

LOWEST_LOGPROB = -9999.0
"""What stands for a log-probability of minus infinity, which JSON cannot say."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as tokens, and as the text that `echo` shows and that text offsets count from."""

    token_ids: Sequence[int]
    text: str


class ChoiceWriter:
    """Writes one choice, at once or piece by piece: knows what of it was shown, and at which character it stands."""

    def __init__(self, index: int, prompt: Prompt, *, echo: bool, has_logprobs: bool) -> None:
        self.is_echo_due = echo
        self._index = index
        self._prompt = prompt
        self._has_logprobs = has_logprobs
        self._position = len(prompt.text)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(
        self, text: str, tokens: Tokens, *, prompt_tokens: Tokens, finish_reason: FinishReason | None = None
    ) -> CompletionChoice:
        """Return the next piece; the first one brings the prompt if it is to be echoed, and its scores if known."""
        if self.is_echo_due:
            self.is_echo_due = False
            text, tokens = self._prompt.text + text, prompt_tokens + tokens
            # Tokens that a model wants before every prompt, such as BOS, are no part of the text: they stand before it.
            self._position -= len(b"".join(token.token_bytes for token in prompt_tokens).decode(errors="replace"))
        logprobs = self._logprobs(tokens) if self._has_logprobs else None
        return CompletionChoice(text=text, index=self._index, logprobs=logprobs, finish_reason=finish_reason)

    def end(self, finish_reason: FinishReason) -> CompletionChoice:
        """Return the piece that closes the choice in a stream."""
        return CompletionChoice(text="", index=self._index, logprobs=None, finish_reason=finish_reason)

    def _logprobs(self, tokens: Tokens) -> Logprobs:
        return Logprobs(
            tokens=[token.token for token in tokens],
            token_logprobs=[None if token.logprob is None else finite(token.logprob) for token in tokens],
            top_logprobs=[_top_logprobs(token) for token in tokens],
            text_offset=[self._offset(token) for token in tokens],
        )

    def _offset(self, token: TokenLogprob) -> int:
        offset = self._position
        self._position += len(self._decoder.decode(token.token_bytes))
        return max(0, offset)


def finite(logprob: float | None) -> float:
    """Return a log-probability as JSON can say it."""
    return LOWEST_LOGPROB if logprob is None else max(LOWEST_LOGPROB, logprob)


def _top_logprobs(token: TokenLogprob) -> dict[str, float] | None:
    """Return the alternatives, with the token itself if there are any; of tokens that look alike, the likeliest."""
    if token.logprob is None:
        return None
    shown = (*token.top_logprobs, token) if token.top_logprobs else ()
    top: dict[str, float] = {}
    for other in shown:
        top.setdefault(other.token, finite(other.logprob))
    return top
