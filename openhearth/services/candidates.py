"""Continuations as they grow from an engine's outputs, and the choice of the best among them."""

from collections import defaultdict
from dataclasses import dataclass, field

from openhearth.engine.base import FinishReason, GenerationOutput, TokenLogprob

Tokens = tuple[TokenLogprob, ...]


@dataclass(slots=True)
class Candidate:
    """One continuation, as far as it has come."""

    text: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    @property
    def mean_logprob(self) -> float:
        """The mean log-probability of its tokens; nothing is worse than an empty text."""
        logprobs = [token.logprob or 0.0 for token in self.tokens]
        return sum(logprobs) / len(logprobs) if logprobs else float("-inf")


class Candidates:
    """All continuations of all prompts of a request, and the scores of the prompts' own tokens."""

    def __init__(self) -> None:
        self._scores: dict[int, Tokens] = {}
        self._of_prompt: defaultdict[int, defaultdict[int, Candidate]] = defaultdict(lambda: defaultdict(Candidate))

    def add(self, number: int, output: GenerationOutput) -> None:
        """Take in an output of prompt `number`."""
        candidate = self._of_prompt[number][output.index]
        candidate.text += output.text
        candidate.tokens += output.logprobs or ()
        candidate.finish_reason = output.finish_reason
        if output.prompt_logprobs is not None:
            self._scores[number] = output.prompt_logprobs

    def scores(self, number: int) -> Tokens:
        """Return the scores of the tokens of prompt `number`; none if they were not asked for."""
        return self._scores.get(number, ())

    def best(self, number: int, n: int) -> list[Candidate]:
        """Return the `n` likeliest continuations of a prompt; all of them in their order if there are no more."""
        candidates = [candidate for _, candidate in sorted(self._of_prompt[number].items())]
        if len(candidates) > n:
            candidates.sort(key=lambda candidate: candidate.mean_logprob, reverse=True)
        return candidates[:n]
