"""The image engine as the server sees it: a queue, and a worker process that takes one request at a time.

Leaves drawing to the worker. Should that die, the request it was at fails, and the next one starts another.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from openhearth.engine.base import (
    ImageEngineStats,
    ImageModelInfo,
    ImageOutput,
    ImageParams,
    PictureInfo,
)
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.image.messages import Cancel, Done, Failed, Start, StepDone
from openhearth.engine.image.pictures import inspect_picture
from openhearth.engine.image.process import WorkerProcess
from openhearth.errors import ModelLoadError, RateLimitError, ServiceUnavailableError

_FIRST_GUESS_SECONDS = 10.0


@dataclass(eq=False, slots=True)
class _Request:
    """A request, from the queue to its end. `news` are outputs, then an error or `None`."""

    number: int
    params: ImageParams
    loop: asyncio.AbstractEventLoop
    news: asyncio.Queue[ImageOutput | Exception | None] = field(default_factory=asyncio.Queue)
    is_cancelled: bool = False

    def tell(self, item: ImageOutput | Exception | None) -> None:
        """Pass on what there is to know, from any thread; nobody listens any more once the loop has ended."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.news.put_nowait, item)


class DiffusersImageEngine:
    """An `ImageEngine` over a directory that diffusers can load."""

    def __init__(self, model: Path, config: ImageEngineConfig) -> None:
        """Load the model, which takes seconds. Raises `ModelLoadError`."""
        self._model = model
        self._config = config
        self._worker: WorkerProcess | None = WorkerProcess(model, config)
        self._info = self._worker.info
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._lock = Lock()
        self._num_requests = self._num_waiting = self._num_steps = 0
        self._running: _Request | None = None
        self._is_closed = False
        self._seconds_per_request = _FIRST_GUESS_SECONDS
        self._decoding = asyncio.Semaphore(1)  # so that no crowd of pictures is in memory at once
        self._thread = Thread(target=self._serve, name="image-engine", daemon=True)
        self._thread.start()

    @property
    def info(self) -> ImageModelInfo:
        """See `ImageEngine.info`."""
        return self._info

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, `None` while there is none."""
        worker = self._worker
        return None if worker is None else worker.pid

    async def inspect(self, picture: Path) -> PictureInfo:
        """See `ImageEngine.inspect`."""
        async with self._decoding:
            return await asyncio.to_thread(inspect_picture, picture)

    async def generate(self, params: ImageParams) -> AsyncGenerator[ImageOutput]:
        """See `ImageEngine.generate`."""
        request = self._enqueue(params)
        try:
            while (item := await request.news.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self._cancel(request)

    def stats(self) -> ImageEngineStats:
        """See `ImageEngine.stats`."""
        with self._lock:
            return ImageEngineStats(
                num_requests_running=int(self._running is not None),
                num_requests_waiting=self._num_waiting,
                num_steps=self._num_steps,
            )

    async def close(self) -> None:
        """See `ImageEngine.close`."""
        with self._lock:
            self._is_closed = True
        self._queue.put(None)
        if self._worker is not None:
            await asyncio.to_thread(self._worker.kill)
        await asyncio.to_thread(self._thread.join)

    def _enqueue(self, params: ImageParams) -> _Request:
        with self._lock:
            if self._is_closed:
                raise ServiceUnavailableError("The server is stopping.")
            if self._num_waiting >= self._config.max_waiting_requests + (self._running is None):
                raise RateLimitError(
                    f"{self._num_waiting} requests for images are waiting already; try again later.",
                    retry_after_seconds=self._seconds_per_request,
                )
            self._num_requests += 1
            self._num_waiting += 1
            request = _Request(self._num_requests, params, asyncio.get_running_loop())
            self._queue.put(request)
            return request

    def _cancel(self, request: _Request) -> None:
        with self._lock:
            request.is_cancelled = True
            if self._running is request and self._worker is not None:
                with suppress(OSError):  # a worker that has gone does no work
                    self._worker.send(Cancel(request.number))

    def _serve(self) -> None:
        """Carry out requests until the end, in a thread of its own."""
        while (request := self._queue.get()) is not None:
            if self._begin(request):
                started_at = time.monotonic()
                end = self._carry_out(request)
                self._end(time.monotonic() - started_at)  # first, so that whoever hears of the end finds a free place
                request.tell(end)
        if self._worker is not None:
            self._worker.close()

    def _begin(self, request: _Request) -> bool:
        """Take a request out of the queue; return whether it still has to be carried out."""
        with self._lock:
            self._num_waiting -= 1
            if self._is_closed:
                request.tell(ServiceUnavailableError("The server is stopping."))
            elif not request.is_cancelled:
                self._running = request
        return self._running is request

    def _end(self, seconds: float) -> None:
        with self._lock:
            self._running = None
            self._seconds_per_request += (seconds - self._seconds_per_request) / 4

    def _carry_out(self, request: _Request) -> Exception | None:
        """Return what the request ends with: an error, or `None` if all is well."""
        try:
            worker = self._worker or WorkerProcess(self._model, self._config)
            self._worker = worker
        except ModelLoadError as error:
            return ServiceUnavailableError(f"The model cannot be loaded again: {error}")
        try:
            with self._lock:
                if request.is_cancelled:
                    return None
                worker.send(Start(request.number, request.params))
            return self._relay(worker, request)
        except (EOFError, OSError):
            self._worker = None
            exit_code = worker.close()
            return ServiceUnavailableError(
                f"The process that draws images has ended (exit code {exit_code}); the next request starts another."
            )

    def _relay(self, worker: WorkerProcess, request: _Request) -> Exception | None:
        """Pass on what the worker sends until the request is over, and return its error."""
        while True:
            match worker.receive():
                case StepDone():
                    with self._lock:
                        self._num_steps += 1
                case ImageOutput() as output:
                    request.tell(output)
                case Failed(error):
                    return error
                case Done():
                    return None
                case unexpected:
                    raise AssertionError(unexpected)
