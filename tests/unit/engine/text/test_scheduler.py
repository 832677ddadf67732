"""The scheduler's choices, without a model: a step is simulated by appending a token to whatever is complete."""

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openhearth.engine.base import SamplingParams
from openhearth.engine.text.block_manager import BlockManager
from openhearth.engine.text.scheduler import MAX_SCORED_TOKENS, Batch, Scheduler
from openhearth.engine.text.sequence import Sequence, SequenceStatus


def build_scheduler(
    *, num_blocks: int = 64, max_num_seqs: int = 8, max_num_batched_tokens: int = 32, num_speculative_tokens: int = 0
) -> Scheduler:
    """Return a scheduler over blocks of four tokens."""
    return Scheduler(
        BlockManager(num_blocks=num_blocks, block_size=4),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        num_speculative_tokens=num_speculative_tokens,
    )


def build_sequence(num_tokens: int, *, first: int = 0, params: SamplingParams | None = None, n: int = 1) -> Sequence:
    """Return a sequence with a prompt of consecutive tokens."""
    return Sequence(0, 0, list(range(first, first + num_tokens)), params or SamplingParams(), num_candidates=n)


def unique_token(position: int) -> int:
    """Return the output token of a text in which nothing comes twice."""
    return 1000 + position


def repeated_token(position: int) -> int:
    """Return the output token of a text that repeats itself, though not always in the same way."""
    return [1, 2, 3, 1, 2, 3, 4][position % 7]


def step(scheduler: Scheduler, output_token: Callable[[int], int] = unique_token) -> Batch:
    """Compute one batch: everything that is complete gains a token, and another one for each guess that is right."""
    batch = scheduler.schedule()
    complete = [scheduled.sequence for scheduled in batch.scheduled if scheduled.is_last_chunk]
    scheduler.update(batch)
    for sequence in complete:
        if sequence.num_candidates > 1:
            complete += [child for child in scheduler.fork(sequence) if child.status is SequenceStatus.RUNNING]
    for sequence in complete:
        sequence.output_token_ids.append(output_token(len(sequence.output_token_ids)))
    for scheduled in batch.scheduled:
        for guess in scheduled.draft_token_ids:
            if guess != scheduled.sequence.output_token_ids[-1]:
                break
            scheduler.accept_draft(scheduled.sequence)
            scheduled.sequence.output_token_ids.append(output_token(len(scheduled.sequence.output_token_ids)))
    return batch


def shares(batch: Batch) -> list[int]:
    """Return how many tokens each sequence of a batch computes."""
    return [scheduled.num_tokens for scheduled in batch.scheduled]


class TestPrefill:
    """Prompts."""

    def test_chunks(self) -> None:
        """A prompt longer than the budget is computed in several steps."""
        scheduler = build_scheduler()
        scheduler.add(build_sequence(70))

        assert [shares(step(scheduler)) for _ in range(4)] == [[32], [32], [6], [1]]

    def test_decodes_come_first(self) -> None:
        """A running answer gets its token in every step while a long prompt is computed."""
        scheduler = build_scheduler()
        answering = build_sequence(3)
        scheduler.add(answering)
        step(scheduler)
        scheduler.add(build_sequence(90, first=500))

        batches = [step(scheduler) for _ in range(3)]

        assert [shares(batch) for batch in batches] == [[1, 31], [1, 31], [1, 28]]
        assert all(batch.scheduled[0].sequence is answering for batch in batches)

    def test_short_prompt_beside_a_long_one(self) -> None:
        """A short prompt does not wait for a long one that came before it."""
        scheduler = build_scheduler()
        long, short = build_sequence(200), build_sequence(10, first=900)
        scheduler.add(long)
        scheduler.add(short)

        batch = step(scheduler)

        assert {scheduled.sequence: scheduled.num_tokens for scheduled in batch.scheduled} == {short: 10, long: 22}

    def test_scoring_is_bounded(self) -> None:
        """A prompt whose every token is scored is computed in smaller chunks, and not from the prefix cache."""
        scheduler = build_scheduler(num_blocks=512, max_num_batched_tokens=1024)
        scheduler.add(build_sequence(300))
        step(scheduler)
        scored = build_sequence(300, params=SamplingParams(prompt_logprobs=0))
        scheduler.add(scored)

        batch = step(scheduler)

        assert shares(batch) == [1, MAX_SCORED_TOKENS]
        assert scored.num_cached_tokens == 0

    def test_prefix_is_reused(self) -> None:
        """A second prompt with the same beginning starts after the blocks that are known."""
        scheduler = build_scheduler()
        scheduler.add(build_sequence(10))
        step(scheduler)
        second = build_sequence(12)
        scheduler.add(second)

        batch = step(scheduler)

        assert shares(batch) == [1, 4]
        assert (second.num_cached_tokens, scheduler.num_hit_tokens) == (8, 8)

    def test_number_of_sequences_is_bounded(self) -> None:
        """No more than `max_num_seqs` run at once; the others keep their order."""
        scheduler = build_scheduler(max_num_seqs=2)
        sequences = [build_sequence(4, first=100 * i) for i in range(4)]
        for sequence in sequences:
            scheduler.add(sequence)
        step(scheduler)

        assert scheduler.running == sequences[:2]
        assert list(scheduler.waiting) == sequences[2:]

    def test_last_token_is_computed_in_any_case(self) -> None:
        """A prompt of which every block is known still computes its last block, for the logits."""
        scheduler = build_scheduler()
        scheduler.add(build_sequence(8))
        step(scheduler)
        again = build_sequence(8)
        scheduler.add(again)
        step(scheduler)

        assert again.num_cached_tokens == 4


class TestPreemption:
    """Running out of blocks."""

    def test_last_comer_gives_way(self) -> None:
        """The sequence that came last gives its blocks back, and is computed again when there is room."""
        scheduler = build_scheduler(num_blocks=4)
        first, second = build_sequence(7), build_sequence(7, first=100)
        scheduler.add(first)
        scheduler.add(second)
        for _ in range(3):
            step(scheduler)

        assert second.status is SequenceStatus.PREEMPTED
        assert (second.block_table, second.num_computed_tokens) == ([], 0)
        assert scheduler.num_preemptions == 1

        scheduler.finish(first)
        batch = step(scheduler)

        assert [scheduled.sequence for scheduled in batch.scheduled] == [second]
        assert len(second.output_token_ids) == 3

    def test_alone_is_never_stuck(self) -> None:
        """A sequence that fills the whole cache by itself still grows to its end."""
        scheduler = build_scheduler(num_blocks=4)
        sequence = build_sequence(9)
        scheduler.add(sequence)
        for _ in range(7):
            step(scheduler)

        assert sequence.num_tokens == 16


class TestFork:
    """Several candidates of one prompt."""

    def test_blocks_are_shared(self) -> None:
        """Candidates share the full blocks of the prompt and get a copy of the last one."""
        scheduler = build_scheduler()
        parent = build_sequence(10, n=3)
        scheduler.add(parent)
        step(scheduler)

        batch = step(scheduler)

        tables = [scheduled.sequence.block_table for scheduled in batch.scheduled]
        assert shares(batch) == [1, 1, 1]
        assert {tuple(table[:2]) for table in tables} == {tuple(parent.block_table[:2])}
        assert len({table[2] for table in tables}) == 3
        assert batch.block_copies == [(tables[0][2], tables[1][2]), (tables[0][2], tables[2][2])]

    def test_candidates_without_a_place_wait(self) -> None:
        """Those that do not fit beside the others are computed later, in order, from the cache."""
        scheduler = build_scheduler(max_num_seqs=2)
        parent = build_sequence(10, n=4)
        scheduler.add(parent)
        step(scheduler)

        assert [sequence.index for sequence in scheduler.running] == [0, 1]
        assert [sequence.index for sequence in scheduler.waiting] == [2, 3]

        scheduler.finish(scheduler.running[1])
        step(scheduler)

        assert scheduler.running[-1].index == 2
        assert scheduler.running[-1].num_cached_tokens == 8


class TestDrafts:
    """Guesses."""

    def run(self, *, num_sequences: int = 1, num_steps: int = 12, **limits: int) -> tuple[Scheduler, list[Sequence]]:
        """Continue texts that repeat themselves."""
        scheduler = build_scheduler(num_speculative_tokens=4, **limits)
        params = SamplingParams(max_tokens=100)
        sequences = [build_sequence(3, first=100 * number, params=params) for number in range(num_sequences)]
        for sequence in sequences:
            scheduler.add(sequence)
        for _ in range(num_steps):
            step(scheduler, repeated_token)
        return scheduler, sequences

    def test_right_guesses_save_steps(self) -> None:
        """A text that repeats itself gains more than a token a step, and what it gains is the same."""
        scheduler, [sequence] = self.run(num_steps=30)

        assert len(sequence.output_token_ids) > 45
        assert sequence.output_token_ids == [repeated_token(i) for i in range(len(sequence.output_token_ids))]
        assert 0 < scheduler.num_accepted_tokens < scheduler.num_draft_tokens
        assert sequence.num_missing_tokens == 1

    def test_many_sequences_do_not_guess(self) -> None:
        """Where each row costs time, nothing is guessed."""
        scheduler, sequences = self.run(num_sequences=5)

        assert scheduler.num_draft_tokens == 0
        assert [len(sequence.output_token_ids) for sequence in sequences] == [12] * 5

    def test_guesses_displace_nobody(self) -> None:
        """Guesses do without when no block is free."""
        scheduler, sequences = self.run(num_sequences=2, num_blocks=6)

        assert scheduler.num_preemptions <= 1
        assert all(sequence.num_tokens <= 24 for sequence in sequences)

    def test_never_more_than_wanted(self) -> None:
        """Nothing is guessed beyond the last token that was asked for."""
        sequence = build_sequence(3, params=SamplingParams(max_tokens=14))
        sequence.output_token_ids = [1, 2, 3] * 4

        assert sequence.propose(4) == (1,)
        sequence.output_token_ids.append(1)
        assert sequence.propose(4) == ()


class SchedulerMachine(RuleBasedStateMachine):
    """Random arrivals, cancellations, endings and steps."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = build_scheduler(
            num_blocks=12, max_num_seqs=5, max_num_batched_tokens=16, num_speculative_tokens=3
        )
        self.alive: list[Sequence] = []

    @rule(num_tokens=st.integers(1, 30), first=st.sampled_from([0, 500]), n=st.integers(1, 3), scored=st.booleans())
    def arrive(self, num_tokens: int, first: int, n: int, scored: bool) -> None:
        """A request comes."""
        params = SamplingParams(prompt_logprobs=0 if scored else None, max_tokens=100)
        sequence = build_sequence(num_tokens, first=first, params=params, n=n)
        self.scheduler.add(sequence)
        self.alive.append(sequence)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A request ends or is given up, wherever it is."""
        sequence = data.draw(st.sampled_from(self.alive))
        self.alive.remove(sequence)
        self.scheduler.finish(sequence)

    @rule()
    def compute(self) -> None:
        """A step is made; it is empty only when there is nothing to do, and within its budget."""
        batch = step(self.scheduler, repeated_token)

        assert bool(batch) == bool(self.alive)
        assert sum(shares(batch)) <= 16
        self.alive = [*self.scheduler.running, *self.scheduler.waiting]
        for sequence in [known for known in self.alive if known.num_tokens >= 44]:
            self.alive.remove(sequence)
            self.scheduler.finish(sequence)

    @invariant()
    def blocks_are_neither_leaked_nor_shared_by_mistake(self) -> None:
        """The free blocks and those that sequences hold make up the whole cache."""
        manager = self.scheduler.block_manager
        held = Counter(block for sequence in self.scheduler.running for block in sequence.block_table)
        assert manager.num_free_blocks + len(held) == manager.num_blocks
        assert all(not sequence.block_table for sequence in self.scheduler.waiting)
        for sequence in self.scheduler.running:
            num_private = max(1, -(-sequence.num_tokens // 4)) - sequence.num_computed_tokens // 4
            writable = sequence.block_table[sequence.num_computed_tokens // 4 :]
            assert len(sequence.block_table) <= -(-(sequence.num_tokens + 3) // 4)
            assert num_private >= 0
            assert all(held[block] == 1 for block in writable)


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(sizes=st.lists(st.integers(1, 44), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_everybody_finishes(sizes: list[int]) -> None:
    """Whatever the prompts, each gets its tokens in a bounded number of steps."""
    scheduler = build_scheduler(num_blocks=12, max_num_seqs=4, max_num_batched_tokens=16)
    sequences = [build_sequence(size, first=1000 * number) for number, size in enumerate(sizes)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(60 * len(sizes)):
        step(scheduler)
        for sequence in list(scheduler.running):
            if len(sequence.output_token_ids) >= 4:
                scheduler.finish(sequence)

    assert {sequence.status for sequence in sequences} == {SequenceStatus.FINISHED}
    assert scheduler.block_manager.num_free_blocks == 12
