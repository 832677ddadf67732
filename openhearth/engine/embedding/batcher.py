"""Decides which inputs are computed together; never touches a tensor.

Requests take turns, one input each, until a window of a few batches is full. The window is sorted by length and cut
into batches, so that hardly anything is padded, and whoever comes meanwhile waits for one window at the most, however
many inputs the others have.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

BATCHES_PER_WINDOW = 2
"""More would sort better, and let newcomers wait longer."""

_SMALL_BATCH_TOKENS = 256
"""Up to this size a batch gains so much by growing that padding does not matter."""

_MIN_FILL = 0.75
"""The shortest input of a larger batch, as a part of the longest."""


@dataclass(eq=False, slots=True)
class Request:
    """The inputs of one caller, and which of them have no place in a window yet.

    Whoever sets `is_cancelled`, from any thread, makes sure that no input gets a place in a batch any more.
    """

    inputs: Sequence[Sequence[int]]
    pending: deque[int] = field(init=False)
    is_cancelled: bool = False

    def __post_init__(self) -> None:
        # Neighbours of equal length share a window: one big request alone is sorted through and through.
        self.pending = deque(sorted(range(len(self.inputs)), key=lambda number: len(self.inputs[number])))


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One input in its place."""

    request: Request
    number: int

    @property
    def token_ids(self) -> Sequence[int]:
        """What the model reads."""
        return self.request.inputs[self.number]


class Batcher:
    """Holds the waiting requests and the window that is being computed."""

    def __init__(self, *, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._waiting: deque[Request] = deque()
        self._window: deque[BatchItem] = deque()

    @property
    def has_work(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting or self._window)

    def add(self, request: Request) -> None:
        """Let a request take its turns from now on."""
        self._waiting.append(request)

    def next_batch(self) -> list[BatchItem]:
        """Return what to compute now, shortest first; empty only if nothing is left."""
        batch = self._cut_batch()
        while not batch and self._waiting:
            self._window = self._take_window()
            batch = self._cut_batch()
        return batch

    def _take_window(self) -> deque[BatchItem]:
        items: list[BatchItem] = []
        num_tokens = 0
        while self._waiting:
            request = self._waiting[0]
            if not request.is_cancelled and request.pending:
                item = BatchItem(request, request.pending[0])
                num_tokens += len(item.token_ids)
                if items and num_tokens > BATCHES_PER_WINDOW * self._max_batch_tokens:
                    break
                items.append(item)
                request.pending.popleft()
                self._waiting.append(request)
            self._waiting.popleft()
        return deque(sorted(items, key=lambda item: len(item.token_ids)))

    def _cut_batch(self) -> list[BatchItem]:
        batch: list[BatchItem] = []
        while self._window:
            item = self._window[0]
            if not item.request.is_cancelled:
                if batch and not self._fits(item, batch):
                    break
                batch.append(item)
            self._window.popleft()
        return batch

    def _fits(self, item: BatchItem, batch: list[BatchItem]) -> bool:
        shortest, longest = len(batch[0].token_ids), len(item.token_ids)
        num_padded_tokens = longest * (len(batch) + 1)
        return num_padded_tokens <= self._max_batch_tokens and (
            num_padded_tokens <= _SMALL_BATCH_TOKENS or shortest >= _MIN_FILL * longest
        )
