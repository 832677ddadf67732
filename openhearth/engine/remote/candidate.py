"""One candidate of a remote request: brings tokens and text together, which servers send in different steps."""

import codecs
from collections import deque
from collections.abc import Iterable

from openhearth.engine.base import FinishReason, TokenLogprob
from openhearth.engine.text.vocabulary import Vocabulary


class RemoteCandidate:
    """Holds tokens until the text they begin has come; what the text never reaches was cut off by a stop sequence."""

    def __init__(self, vocabulary: Vocabulary, *, eos_token_ids: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self._eos_token_ids = eos_token_ids
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held: deque[tuple[int, TokenLogprob]] = deque()
        self._num_characters_of_tokens = 0
        self._num_characters = 0

    def take(
        self, text: str, tokens: Iterable[TokenLogprob], finish_reason: FinishReason | None
    ) -> tuple[TokenLogprob, ...]:
        """Return the tokens that can be shown now; the last call has a `finish_reason`."""
        self._num_characters += len(text)
        for token in tokens:
            self._held.append((self._num_characters_of_tokens, token))
            self._num_characters_of_tokens += len(self._decoder.decode(self._vocabulary.text_bytes(token.token_id)))
        if finish_reason == "stop":
            self._drop_end_of_text()
        releases_all = finish_reason == "length" or (finish_reason is None and self._is_all_text_here)
        released = []
        while self._held and (releases_all or self._held[0][0] < self._num_characters):
            released.append(self._held.popleft()[1])
        return tuple(released)

    @property
    def _is_all_text_here(self) -> bool:
        is_between_characters = not self._decoder.getstate()[0]
        return is_between_characters and self._num_characters_of_tokens <= self._num_characters

    def _drop_end_of_text(self) -> None:
        while self._held and self._held[-1][1].token_id in self._eos_token_ids:
            self._held.pop()
