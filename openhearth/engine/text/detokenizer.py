"""Turns one candidate's tokens into text as they come, and ends it at a stop sequence.

Text is released only when it cannot become part of a stop sequence or of another character; tokens are released with
the text they begin in, so that a stop sequence takes its tokens with it.
"""

import codecs
from collections import deque


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a proper beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)


class Detokenizer:
    """The text of one candidate, as far as it has come."""

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._num_released_characters = 0
        self._held_token_starts: deque[int] = deque()
        self.is_stopped = False

    def append(self, token_bytes: bytes) -> tuple[str, int]:
        """Take in one token; return the text and the number of tokens that can be released now."""
        self._held_token_starts.append(self._num_released_characters + len(self._held))
        self._held += self._decoder.decode(token_bytes)
        ends = [position for stop in self._stop if (position := self._held.find(stop)) >= 0]
        if ends:
            self.is_stopped = True
            return self._release(min(ends))
        return self._release(len(self._held) - max((_overlap(self._held, stop) for stop in self._stop), default=0))

    def flush(self) -> tuple[str, int]:
        """Return what is still held when the candidate ends without a stop sequence."""
        self._held += self._decoder.decode(b"", final=True)
        num_tokens = len(self._held_token_starts)
        text, _ = self._release(len(self._held))
        self._held_token_starts.clear()
        return text, num_tokens

    def _release(self, length: int) -> tuple[str, int]:
        text, self._held = self._held[:length], self._held[length:]
        self._num_released_characters += length
        num_tokens = 0
        while self._held_token_starts and (
            self._held_token_starts[0] < self._num_released_characters or not (self._held or self.is_stopped)
        ):
            self._held_token_starts.popleft()
            num_tokens += 1
        return text, num_tokens
