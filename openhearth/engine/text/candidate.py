"""One candidate's way from sampled tokens to what its caller sees: text, log-probabilities, finish reason."""

from collections import deque
from dataclasses import dataclass

from openhearth.engine.base import FinishReason, GenerationOutput, TokenLogprob
from openhearth.engine.text.detokenizer import Detokenizer
from openhearth.engine.text.sampler import Logits, SamplingState, top_token_ids
from openhearth.engine.text.sequence import Sequence
from openhearth.engine.text.vocabulary import Vocabulary


def token_logprob(
    vocabulary: Vocabulary, row: Logits, log_normalizer: float, token_id: int, num_alternatives: int
) -> TokenLogprob:
    """Return how likely `token_id` was by one row of logits, with the likeliest alternatives at its place."""

    def entry(candidate: int, alternatives: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        logprob = float(row[candidate]) - float(log_normalizer)
        return vocabulary.logprob_entry(candidate, logprob, alternatives)

    return entry(token_id, tuple(entry(candidate) for candidate in top_token_ids(row, num_alternatives)))


@dataclass(slots=True)
class Tally:
    """What all candidates of one request have generated together."""

    num_output_tokens: int = 0


class Candidate:
    """What belongs to one sequence outside the scheduler."""

    def __init__(self, sequence: Sequence, state: SamplingState, vocabulary: Vocabulary, tally: Tally) -> None:
        self.sequence = sequence
        self.state = state
        self.tally = tally
        self._vocabulary = vocabulary
        self._detokenizer = Detokenizer(sequence.params.stop)
        self._held: deque[tuple[int, TokenLogprob | None]] = deque()
        self.prompt_logprobs: list[TokenLogprob] = []

    def accept(self, token_id: int, logprob: TokenLogprob | None, eos_token_ids: frozenset[int]) -> GenerationOutput:
        """Take in a sampled token, and return what can be shown after it; may finish the candidate."""
        sequence, params = self.sequence, self.sequence.params
        sequence.output_token_ids.append(token_id)
        self.tally.num_output_tokens += 1
        self.state.accept(token_id)
        if token_id in eos_token_ids and not params.ignore_eos:
            return self._finish("stop")
        self._held.append((token_id, logprob))
        text, num_released = self._detokenizer.append(self._vocabulary.text_bytes(token_id))
        if self._detokenizer.is_stopped:
            return self._output(text, num_released, "stop")
        if self.state.is_grammar_complete:
            return self._finish("stop", text, num_released)
        if len(sequence.output_token_ids) >= params.max_tokens:
            return self._finish("length", text, num_released)
        return self._output(text, num_released, None)

    def finish_without_tokens(self, index: int) -> GenerationOutput:
        """Return the only output of a candidate of which no token was wanted."""
        return self._output("", 0, "length", index)

    def _finish(self, reason: FinishReason, text: str = "", num_released: int = 0) -> GenerationOutput:
        rest, num_rest = self._detokenizer.flush()
        return self._output(text + rest, num_released + num_rest, reason)

    def _output(
        self, text: str, num_released: int, reason: FinishReason | None, index: int | None = None
    ) -> GenerationOutput:
        sequence = self.sequence
        released = [self._held.popleft() for _ in range(num_released)]
        wants_logprobs = sequence.params.logprobs is not None
        prompt_logprobs, self.prompt_logprobs = self.prompt_logprobs, []
        return GenerationOutput(
            index=sequence.index if index is None else index,
            text=text,
            token_ids=tuple(token_id for token_id, _ in released),
            num_prompt_tokens=len(sequence.prompt_token_ids),
            num_cached_tokens=sequence.num_cached_tokens,
            num_output_tokens=self.tally.num_output_tokens,
            logprobs=tuple(entry for _, entry in released if entry is not None) if wants_logprobs else None,
            prompt_logprobs=tuple(prompt_logprobs) or None,
            finish_reason=reason,
        )
