"""Which inputs are computed together, without a model."""

import random

from openhearth.engine.embedding.batcher import Batcher, BatchItem, Request


def request(*lengths: int) -> Request:
    """Return a request with inputs of these lengths."""
    return Request([[7] * length for length in lengths])


def drain(batcher: Batcher) -> list[list[BatchItem]]:
    """Return all batches to come."""
    batches = []
    while batch := batcher.next_batch():
        batches.append(batch)
    return batches


def lengths(batch: list[BatchItem]) -> list[int]:
    """Return the lengths in a batch."""
    return [len(item.token_ids) for item in batch]


class TestBatches:
    """What a batch is made of."""

    def test_every_input_comes_once(self) -> None:
        """However requests are mixed, each input is in one batch and keeps its number."""
        rng = random.Random(0)
        batcher = Batcher(max_batch_tokens=128)
        requests = [request(*(rng.randint(1, 100) for _ in range(rng.randint(1, 30)))) for _ in range(20)]
        for each in requests:
            batcher.add(each)

        items = [item for batch in drain(batcher) for item in batch]

        assert len(items) == len(set(items)) == sum(len(each.inputs) for each in requests)
        assert all(item.token_ids is item.request.inputs[item.number] for item in items)
        assert not batcher.has_work

    def test_the_budget_counts_padding(self) -> None:
        """A batch is never wider times higher than the budget."""
        rng = random.Random(1)
        batcher = Batcher(max_batch_tokens=512)
        batcher.add(request(*(rng.randint(1, 256) for _ in range(200))))

        assert all(max(lengths(batch)) * len(batch) <= 512 for batch in drain(batcher))

    def test_one_caller_is_sorted_through(self) -> None:
        """Inputs of one big request meet their equals: next to nothing is padded."""
        rng = random.Random(2)
        batcher = Batcher(max_batch_tokens=1024)
        batcher.add(request(*(rng.randint(10, 200) for _ in range(500))))

        batches = drain(batcher)

        padded = sum(max(lengths(batch)) * len(batch) for batch in batches)
        assert padded < 1.05 * sum(sum(lengths(batch)) for batch in batches)

    def test_short_inputs_do_not_wait_on_long_ones(self) -> None:
        """A batch that is large enough leaves inputs that it would have to pad to the next one."""
        batcher = Batcher(max_batch_tokens=1024)
        batcher.add(request(200, 190, 20, 20, 20))

        assert [lengths(batch) for batch in drain(batcher)] == [[20, 20, 20], [190, 200]]

    def test_a_few_tokens_are_padded(self) -> None:
        """As long as a batch is small, padding costs less than another batch."""
        batcher = Batcher(max_batch_tokens=1024)
        batcher.add(request(40, 10, 5))

        assert [lengths(batch) for batch in drain(batcher)] == [[5, 10, 40]]

    def test_an_input_longer_than_the_budget_is_alone(self) -> None:
        """An input that no budget holds is computed all the same."""
        batcher = Batcher(max_batch_tokens=100)
        batcher.add(request(300, 90))

        assert [lengths(batch) for batch in drain(batcher)] == [[90], [300]]

    def test_nothing_to_do(self) -> None:
        """Without requests there is no batch."""
        batcher = Batcher(max_batch_tokens=100)

        assert batcher.next_batch() == []
        assert not batcher.has_work


class TestTurns:
    """Whose inputs come first."""

    def test_a_single_input_does_not_starve(self) -> None:
        """Whoever comes with one input, after another came with 2,048, is computed next but one."""
        batcher = Batcher(max_batch_tokens=1024)
        big, small = request(*[200] * 2048), request(30)
        batcher.add(big)
        batcher.next_batch()
        batcher.add(small)

        batches = [batcher.next_batch() for _ in range(2)]

        assert any(item.request is small for batch in batches for item in batch)

    def test_requests_share_equally(self) -> None:
        """Two big requests advance side by side."""
        batcher = Batcher(max_batch_tokens=1000)
        first, second = request(*[100] * 50), request(*[100] * 50)
        batcher.add(first)
        batcher.add(second)

        items = [item for _ in range(4) for item in batcher.next_batch()]

        assert sum(item.request is first for item in items) == sum(item.request is second for item in items) == 20


class TestCancelling:
    """Callers that have gone."""

    def test_before_its_turn(self) -> None:
        """Nothing is computed for a caller that went away in the queue."""
        batcher = Batcher(max_batch_tokens=100)
        gone, there = request(10, 10), request(20)
        batcher.add(gone)
        batcher.add(there)
        gone.is_cancelled = True

        assert [lengths(batch) for batch in drain(batcher)] == [[20]]

    def test_in_the_window(self) -> None:
        """A caller that goes between two batches of a window costs no second one."""
        batcher = Batcher(max_batch_tokens=100)
        gone = request(*[50] * 6)
        batcher.add(gone)
        batcher.next_batch()
        gone.is_cancelled = True

        assert drain(batcher) == []
        assert not batcher.has_work
