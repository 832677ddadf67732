"""Decides which tokens the next step computes; never touches a tensor.

Decoding sequences come first, one token each; what is left of the token budget goes to prompts, in equal shares, so
that neither a long prompt delays running answers nor a short prompt waits behind a long one (chunked prefill,
https://arxiv.org/abs/2308.16369). When the blocks run out, the sequence that came last gives its blocks back and is
computed again later.
"""

from collections import deque
from dataclasses import dataclass, field, replace

from openhearth.engine.text.block_manager import BlockManager, NoFreeBlocksError
from openhearth.engine.text.sequence import Sequence, SequenceStatus

MAX_SCORED_TOKENS = 128
"""Prompt tokens scored in one step; each needs a whole row of logits in memory."""

MAX_DRAFTED_ROWS = 8
"""Rows of a step up to which guesses are computed beside the tokens that are known; more rows would cost more time."""

MAX_CONCURRENT_PREFILLS = 4
"""Long prompts computed side by side; more would only delay all of them."""


@dataclass(frozen=True, slots=True)
class ScheduledSequence:
    """A sequence, the tokens `start` to `stop` of it that a step computes, and guesses at those that follow."""

    sequence: Sequence
    start: int
    stop: int
    draft_token_ids: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        """How many tokens the step computes, guesses included."""
        return self.stop - self.start + len(self.draft_token_ids)

    @property
    def token_ids(self) -> list[int]:
        """The tokens the step computes, guesses included."""
        return [*self.sequence.tokens(self.start, self.stop), *self.draft_token_ids]

    @property
    def is_last_chunk(self) -> bool:
        """Whether the step ends with a token to be sampled."""
        return self.stop == self.sequence.num_tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """The work of one step: chunks of sequences, and blocks to copy (source, target) before it begins."""

    scheduled: list[ScheduledSequence] = field(default_factory=list)
    block_copies: list[tuple[int, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.scheduled)


class Scheduler:
    """Holds the waiting and the running sequences, and what they own in the cache."""

    def __init__(
        self,
        block_manager: BlockManager,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        num_speculative_tokens: int = 0,
    ) -> None:
        self.block_manager = block_manager
        self._max_num_seqs = max_num_seqs
        self._max_num_batched_tokens = max_num_batched_tokens
        self._num_speculative_tokens = num_speculative_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._block_copies: list[tuple[int, int]] = []
        self.num_preemptions = 0
        self.num_queried_tokens = 0
        self.num_hit_tokens = 0
        self.num_draft_tokens = 0
        self.num_accepted_tokens = 0

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence at the end of the queue."""
        self.waiting.append(sequence)

    def schedule(self) -> Batch:
        """Choose the next step's work; the batch is empty only when nothing waits and nothing runs."""
        decodes = self._schedule_decodes()
        budget = self._max_num_batched_tokens - len(decodes)
        self._admit_waiting(budget)
        prefills = self._schedule_prefills(budget)
        scheduled = decodes + prefills if prefills else self._add_drafts(decodes)
        block_copies, self._block_copies = self._block_copies, []
        return Batch(scheduled, block_copies)

    def update(self, batch: Batch) -> None:
        """Note that the batch was computed: its blocks are filled and may be shared."""
        for scheduled in batch.scheduled:
            sequence = scheduled.sequence
            sequence.num_computed_tokens = scheduled.stop
            self._register_full_blocks(sequence)

    def accept_draft(self, sequence: Sequence) -> None:
        """Note that a guess was right: the token generated before the last one is computed already."""
        sequence.num_computed_tokens += 1
        self.num_accepted_tokens += 1

    def fork(self, parent: Sequence) -> list[Sequence]:
        """Split the other candidates off a parent whose prompt is computed, and return them.

        They share its full blocks and get a copy of the last one if it is half full. Those for which there is no
        place now are queued in front, still waiting, and computed from the prefix cache later.
        """
        children = [parent.fork(index) for index in range(1, parent.num_candidates)]
        parent.num_candidates = 1
        displaced = [child for child in children if not self._place_beside(child, parent)]
        self.waiting.extendleft(reversed(displaced))
        return children

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and free what it holds."""
        if sequence.status is SequenceStatus.RUNNING:
            self.running.remove(sequence)
        elif sequence.status is not SequenceStatus.FINISHED:
            self.waiting.remove(sequence)
        sequence.status = SequenceStatus.FINISHED
        self._release(sequence)

    def _schedule_decodes(self) -> list[ScheduledSequence]:
        scheduled: list[ScheduledSequence] = []
        for sequence in list(self.running):
            if sequence.status is not SequenceStatus.RUNNING or not sequence.is_decoding:
                continue
            if self._grow(sequence):
                scheduled.append(ScheduledSequence(sequence, sequence.num_computed_tokens, sequence.num_tokens))
        return [chosen for chosen in scheduled if chosen.sequence.status is SequenceStatus.RUNNING]

    def _add_drafts(self, decodes: list[ScheduledSequence]) -> list[ScheduledSequence]:
        """Add guesses while they cost little."""
        count = min(self._num_speculative_tokens, MAX_DRAFTED_ROWS // max(1, len(decodes)) - 1)
        return [self._with_drafts(chosen, count) for chosen in decodes] if count > 0 else decodes

    def _with_drafts(self, chosen: ScheduledSequence, count: int) -> ScheduledSequence:
        """Add up to `count` guesses, as far as there are blocks for them."""
        sequence, manager = chosen.sequence, self.block_manager
        draft_token_ids = sequence.propose(count)
        num_blocks = manager.num_blocks_for(chosen.stop + len(draft_token_ids)) - len(sequence.block_table)
        if not draft_token_ids or num_blocks > manager.num_free_blocks:
            return chosen
        sequence.block_table += manager.allocate(max(0, num_blocks))
        self.num_draft_tokens += len(draft_token_ids)
        return replace(chosen, draft_token_ids=draft_token_ids)

    def _schedule_prefills(self, budget: int) -> list[ScheduledSequence]:
        prefilling = [sequence for sequence in self.running if not sequence.is_decoding]
        prefilling.sort(key=lambda sequence: sequence.num_missing_tokens)
        scheduled: list[ScheduledSequence] = []
        for position, sequence in enumerate(prefilling):
            share = budget // (len(prefilling) - position)
            limit = min(share, MAX_SCORED_TOKENS) if sequence.wants_prompt_logprobs else share
            count = min(sequence.num_missing_tokens, limit)
            if count > 0:
                start = sequence.num_computed_tokens
                scheduled.append(ScheduledSequence(sequence, start, start + count))
                budget -= count
        return scheduled

    def _admit_waiting(self, budget: int) -> None:
        prefills = [sequence.num_missing_tokens for sequence in self.running if not sequence.is_decoding]
        while self.waiting and len(self.running) < self._max_num_seqs:
            if sum(prefills) >= budget and len(prefills) >= MAX_CONCURRENT_PREFILLS:
                break
            sequence = self.waiting[0]
            if not self._allocate_prompt(sequence):
                break
            self.waiting.popleft()
            sequence.status = SequenceStatus.RUNNING
            self.running.append(sequence)
            prefills.append(sequence.num_missing_tokens)

    def _allocate_prompt(self, sequence: Sequence) -> bool:
        manager = self.block_manager
        shared = self._match_prefix(sequence)
        try:
            fresh = manager.allocate(manager.num_blocks_for(sequence.num_tokens) - len(shared))
        except NoFreeBlocksError:
            manager.free(shared)
            return False
        self.num_queried_tokens += sequence.num_tokens
        self.num_hit_tokens += len(shared) * manager.block_size
        sequence.block_table = shared + fresh
        sequence.num_computed_tokens = len(shared) * manager.block_size
        sequence.num_registered_blocks = len(shared)
        if sequence.status is SequenceStatus.WAITING:
            sequence.num_cached_tokens = sequence.num_computed_tokens
        return True

    def _match_prefix(self, sequence: Sequence) -> list[int]:
        """Share what is cached of a sequence, except for its last token, whose logits are needed in any case."""
        if sequence.wants_prompt_logprobs:
            return []
        size = self.block_manager.block_size
        return self.block_manager.match_prefix(sequence.hashes_of_full_blocks(size, (sequence.num_tokens - 1) // size))

    def _grow(self, sequence: Sequence) -> bool:
        """Make room for the next token; returns False if the sequence itself had to give way."""
        while len(sequence.block_table) < self.block_manager.num_blocks_for(sequence.num_tokens):
            try:
                sequence.block_table += self.block_manager.allocate(1)
            except NoFreeBlocksError:
                victim = self.running[-1]
                self._preempt(victim)
                if victim is sequence:
                    return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence)
        sequence.status = SequenceStatus.PREEMPTED
        self.waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _place_beside(self, child: Sequence, parent: Sequence) -> bool:
        manager = self.block_manager
        num_full, remainder = divmod(len(parent.prompt_token_ids), manager.block_size)
        if len(self.running) >= self._max_num_seqs or manager.num_free_blocks < 1:
            return False
        child.block_table = parent.block_table[:num_full]
        manager.share(child.block_table)
        if remainder:
            child.block_table += manager.allocate(1)
            self._block_copies.append((parent.block_table[num_full], child.block_table[num_full]))
        child.num_computed_tokens = len(parent.prompt_token_ids)
        child.num_registered_blocks = num_full
        child.status = SequenceStatus.RUNNING
        self.running.append(child)
        return True

    def _release(self, sequence: Sequence) -> None:
        self.block_manager.free(sequence.block_table)
        sequence.block_table = []
        sequence.num_computed_tokens = 0
        sequence.num_registered_blocks = 0

    def _register_full_blocks(self, sequence: Sequence) -> None:
        size = self.block_manager.block_size
        num_full = sequence.num_computed_tokens // size
        if num_full > sequence.num_registered_blocks:
            block_hashes = sequence.hashes_of_full_blocks(size, num_full)
            for number in range(sequence.num_registered_blocks, num_full):
                self.block_manager.register(sequence.block_table[number], block_hashes[number])
            sequence.num_registered_blocks = num_full
