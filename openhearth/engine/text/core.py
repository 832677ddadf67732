"""The engine without threads: requests in, steps, outputs out. Everything here happens in one thread.

One step: the scheduler decides, the runner computes, the sampler chooses, each candidate turns its token into text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openhearth.engine.base import EngineStats, GenerationOutput, SamplingParams, TokenLogprob
from openhearth.engine.text.block_manager import BlockManager
from openhearth.engine.text.candidate import Candidate, Tally, token_logprob
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.lora import LoRAAdapter
from openhearth.engine.text.model_runner import logit_rows
from openhearth.engine.text.sampler import Logits, SamplingState, TokenMask, log_normalizers, sample
from openhearth.engine.text.scheduler import Batch, ScheduledSequence, Scheduler
from openhearth.engine.text.sequence import Sequence, SequenceStatus
from openhearth.engine.text.vocabulary import Vocabulary


class Runner(Protocol):
    """What the core needs of a model runner; tests bring one without weights."""

    block_size: int
    num_blocks: int

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Compute a batch and return its wanted logits, shape `[rows, vocab_size]`."""
        ...


@dataclass(frozen=True, slots=True)
class _Sampling:
    """A candidate, the row of logits it samples from, and the tokens guessed to come out of this row and the next."""

    candidate: Candidate
    row: int
    draft_token_ids: tuple[int, ...]


class EngineCore:
    """Owns the scheduler and every candidate; not safe to share between threads, except for `stats`."""

    def __init__(
        self,
        runner: Runner,
        vocabulary: Vocabulary,
        config: EngineConfig,
        *,
        eos_token_ids: frozenset[int],
        compile_grammar: Callable[[str], TokenMask],
    ) -> None:
        self._runner = runner
        self._vocabulary = vocabulary
        self._config = config
        self._eos_token_ids = eos_token_ids
        self._compile_grammar = compile_grammar
        self._scheduler = self._new_scheduler()
        self._candidates: dict[Sequence, Candidate] = {}
        self._num_prompt_tokens = 0
        self._num_output_tokens = 0

    @property
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        return bool(self._scheduler.waiting or self._scheduler.running)

    def add_request(
        self,
        request_id: int,
        prompt_token_ids: list[int],
        params: SamplingParams,
        adapter: LoRAAdapter | None = None,
    ) -> None:
        """Queue a request; raises `BadRequestError` if its grammar cannot be used."""
        num_candidates = params.n if params.max_tokens else 1
        sequence = Sequence(request_id, 0, prompt_token_ids, params, num_candidates, adapter)
        self._candidates[sequence] = self._new_candidate(sequence, Tally())
        self._scheduler.add(sequence)

    def abort_request(self, request_id: int) -> None:
        """Forget a request and free what it holds; one that is not known (any more) is ignored."""
        for sequence in [known for known in self._candidates if known.request_id == request_id]:
            self._finish(sequence)

    def reset(self) -> None:
        """Forget everything after a step failed halfway."""
        self._candidates.clear()
        self._scheduler = self._new_scheduler()

    def step(self) -> list[tuple[int, GenerationOutput]]:
        """Compute one batch; return what each request gained, by request id."""
        batch = self._scheduler.schedule()
        if not batch:
            return []
        logits = self._runner.run(batch)
        self._scheduler.update(batch)
        outputs: list[tuple[int, GenerationOutput]] = []
        sampling: list[_Sampling] = []
        row = 0
        for scheduled in batch.scheduled:
            count = len(logit_rows(scheduled))
            if scheduled.sequence.wants_prompt_logprobs:
                self._score(scheduled, logits[row : row + count])
            row += count
            if scheduled.is_last_chunk:
                drafts = scheduled.draft_token_ids
                candidates = self._finish_prompt(scheduled.sequence, outputs)
                sampling += [_Sampling(candidate, row - 1 - len(drafts), drafts) for candidate in candidates]
        while sampling:
            outputs += self._sample(logits, sampling)
            sampling = [following for chosen in sampling if (following := self._check_draft(chosen)) is not None]
        return outputs

    def stats(self) -> EngineStats:
        """Return a reading of the gauges and counters."""
        scheduler = self._scheduler
        return EngineStats(
            num_requests_running=len(scheduler.running),
            num_requests_waiting=len(scheduler.waiting),
            kv_cache_usage=scheduler.block_manager.usage,
            prompt_tokens=self._num_prompt_tokens,
            generation_tokens=self._num_output_tokens,
            num_preemptions=scheduler.num_preemptions,
            prefix_cache_queries=scheduler.num_queried_tokens,
            prefix_cache_hits=scheduler.num_hit_tokens,
            spec_decode_draft_tokens=scheduler.num_draft_tokens,
            spec_decode_accepted_tokens=scheduler.num_accepted_tokens,
        )

    def _new_scheduler(self) -> Scheduler:
        manager = BlockManager(
            num_blocks=self._runner.num_blocks,
            block_size=self._runner.block_size,
            enable_prefix_caching=self._config.enable_prefix_caching,
        )
        return Scheduler(
            manager,
            max_num_seqs=self._config.max_num_seqs,
            max_num_batched_tokens=self._config.max_num_batched_tokens,
            num_speculative_tokens=self._config.num_speculative_tokens,
        )

    def _new_candidate(self, sequence: Sequence, tally: Tally) -> Candidate:
        grammar = sequence.params.grammar
        mask = self._compile_grammar(grammar) if grammar is not None else None
        return Candidate(sequence, SamplingState(sequence.params, sequence.index, mask), self._vocabulary, tally)

    def _score(self, scheduled: ScheduledSequence, rows: Logits) -> None:
        """Note how likely each prompt token was that the rows of this chunk predict."""
        sequence = scheduled.sequence
        entries = self._candidates[sequence].prompt_logprobs
        token_ids, count = sequence.prompt_token_ids, sequence.params.prompt_logprobs or 0
        if scheduled.start == 0:  # also after a preemption
            entries[:] = [self._vocabulary.logprob_entry(token_ids[0], None)]
        predicted = token_ids[scheduled.start + 1 : scheduled.stop + 1]
        for row, log_normalizer, token_id in zip(rows, log_normalizers(rows), predicted, strict=False):
            entries.append(token_logprob(self._vocabulary, row, log_normalizer, token_id, count))

    def _finish_prompt(self, sequence: Sequence, outputs: list[tuple[int, GenerationOutput]]) -> list[Candidate]:
        """Return the candidates that sample from a sequence's last row, forking them at the end of the prompt."""
        if not sequence.output_token_ids:
            self._num_prompt_tokens += len(sequence.prompt_token_ids) if sequence.index == 0 else 0
        if sequence.params.max_tokens == 0:
            candidate = self._candidates[sequence]
            outputs += [(sequence.request_id, candidate.finish_without_tokens(i)) for i in range(sequence.params.n)]
            self._finish(sequence)
            return []
        children = self._scheduler.fork(sequence) if sequence.num_candidates > 1 else []
        tally = self._candidates[sequence].tally
        self._candidates |= {child: self._new_candidate(child, tally) for child in children}
        sampling = [sequence, *(child for child in children if child.status is SequenceStatus.RUNNING)]
        return [self._candidates[chosen] for chosen in sampling]

    def _check_draft(self, chosen: _Sampling) -> _Sampling | None:
        """Return where to sample next in the same step, if the token just sampled is the one that was guessed."""
        sequence, drafts = chosen.candidate.sequence, chosen.draft_token_ids
        is_right = bool(drafts) and sequence.output_token_ids[-1] == drafts[0]
        if not is_right or sequence.status is not SequenceStatus.RUNNING:
            return None
        self._scheduler.accept_draft(sequence)
        return _Sampling(chosen.candidate, chosen.row + 1, drafts[1:])

    def _sample(self, logits: Logits, sampling: list[_Sampling]) -> list[tuple[int, GenerationOutput]]:
        candidates, rows = [chosen.candidate for chosen in sampling], [chosen.row for chosen in sampling]
        wanted = logits if rows == list(range(len(logits))) else logits[rows]
        token_ids = sample(wanted, [candidate.state for candidate in candidates])
        logprobs = self._logprobs(wanted, token_ids, candidates)
        self._num_output_tokens += len(token_ids)
        outputs = []
        for candidate, token_id, logprob in zip(candidates, token_ids, logprobs, strict=True):
            output = candidate.accept(token_id, logprob, self._eos_token_ids)
            if output.finish_reason is not None:
                self._finish(candidate.sequence)
            if output.finish_reason is not None or output.token_ids or output.text or output.prompt_logprobs:
                outputs.append((candidate.sequence.request_id, output))
        return outputs

    def _logprobs(self, logits: Logits, token_ids: list[int], candidates: list[Candidate]) -> list[TokenLogprob | None]:
        found: dict[int, TokenLogprob] = {}
        wanted = [i for i, candidate in enumerate(candidates) if candidate.sequence.params.logprobs is not None]
        if not wanted:
            return [None] * len(token_ids)
        normalizers = log_normalizers(logits[wanted])
        for position, log_normalizer in zip(wanted, normalizers, strict=True):
            count = candidates[position].sequence.params.logprobs or 0
            found[position] = token_logprob(
                self._vocabulary, logits[position], log_normalizer, token_ids[position], count
            )
        return [found.get(position) for position in range(len(token_ids))]

    def _finish(self, sequence: Sequence) -> None:
        del self._candidates[sequence]
        self._scheduler.finish(sequence)
