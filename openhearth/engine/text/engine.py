"""The text engine on CPU: the protocol's asynchronous face over a core that computes in a thread of its own."""

import asyncio
import itertools
import queue
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import structlog

from openhearth.engine.base import EngineStats, GenerationOutput, LoRARequest, SamplingParams
from openhearth.engine.text.adapter_cache import AdapterCache
from openhearth.engine.text.architectures.config import PLACES
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.core import EngineCore
from openhearth.engine.text.grammar import Grammars
from openhearth.engine.text.lora import LoRAAdapter, places_of
from openhearth.engine.text.model_runner import ModelRunner
from openhearth.engine.text.tokenizing import TokenizingEngine
from openhearth.errors import (
    APIError,
    RateLimitError,
    ServiceUnavailableError,
)

logger = structlog.get_logger(__name__)

_SPEED_MEMORY = 0.9


class _Stream:
    """The caller's end of a request; outputs and errors arrive in its own event loop."""

    def __init__(
        self, request_id: int, prompt_token_ids: list[int], params: SamplingParams, adapter: LoRAAdapter | None
    ) -> None:
        self.request_id = request_id
        self.prompt_token_ids = prompt_token_ids
        self.params = params
        self.adapter = adapter
        self.loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[GenerationOutput | Exception] = asyncio.Queue()


class OpenVINOTextEngine(TokenizingEngine):
    """Serves one model; see `engine/base.py` for what each method promises."""

    def __init__(self, model: Path, config: EngineConfig) -> None:
        """Load the model in a Hugging Face directory; takes seconds. Raises `ModelLoadError`."""
        runner = ModelRunner(model, config)
        decoder = runner.decoder
        super().__init__(
            model,
            vocab_size=decoder.vocab_size,
            max_model_len=min(
                decoder.max_position_embeddings,
                runner.num_blocks * runner.block_size,
                config.max_model_len or decoder.max_position_embeddings,
            ),
        )
        self._config = config
        self._vocabulary.prepare()
        self._grammars = Grammars(self._tokenizer)
        self._core = EngineCore(
            runner,
            self._vocabulary,
            config,
            eos_token_ids=self._tokenizer.eos_token_ids,
            compile_grammar=self._grammars.compile,
        )
        self._adapters = AdapterCache(
            prepare=lambda adapter: runner.prepare_lora(adapter.places), max_bytes=config.lora_cache_bytes
        )
        self._runner = runner
        self._streams: dict[int, _Stream] = {}
        self._request_ids = itertools.count()
        self._inbox: queue.SimpleQueue[_Stream | int | Callable[[], None] | None] = queue.SimpleQueue()
        self._tokens_per_second = 1000.0
        self._thread = threading.Thread(target=self._run, name="text-engine", daemon=True)
        self._thread.start()

    async def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams, *, lora: LoRARequest | None = None
    ) -> AsyncGenerator[GenerationOutput]:
        """Continue one prompt; closing the iterator frees everything the request holds."""
        self._check_prompt(prompt_token_ids, params)
        self._check_queue(len(prompt_token_ids))
        adapter = None if lora is None else await self._adapters.get(lora)
        if params.grammar is not None:
            await asyncio.to_thread(self._grammars.prepare)
        stream = _Stream(next(self._request_ids), list(prompt_token_ids), params, adapter)
        self._streams[stream.request_id] = stream
        self._inbox.put(stream)
        try:
            num_running = params.n
            while num_running:
                event = await stream.events.get()
                if isinstance(event, Exception):
                    raise event
                num_running -= event.finish_reason is not None
                yield event
        finally:
            del self._streams[stream.request_id]
            self._inbox.put(stream.request_id)

    async def prepare_lora(self, target_modules: str) -> None:
        """Compile the graph for adapters of these modules in a thread, unless there is one; takes seconds."""
        places = PLACES if target_modules == "all-linear" else places_of(target_modules.split(","))
        await asyncio.to_thread(self._runner.prepare_lora, frozenset(places))

    async def unload_idle_loras(self, idle_seconds: float) -> None:
        """Forget the adapters that nobody uses; when none is left, the graph lets go of those it holds."""
        if not await self._adapters.forget_idle(idle_seconds):
            self._inbox.put(self._runner.release_adapters)

    def stats(self) -> EngineStats:
        """Return a reading of the gauges and counters."""
        return self._core.stats()

    async def close(self) -> None:
        """Stop the thread; running requests end with an error."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)
        for stream in list(self._streams.values()):
            stream.events.put_nowait(ServiceUnavailableError("The server is shutting down."))

    def _check_queue(self, num_prompt_tokens: int) -> None:
        config = self._config
        num_waiting_tokens = sum(len(stream.prompt_token_ids) for stream in self._streams.values())
        is_full = len(self._streams) >= config.max_num_seqs + config.max_waiting_requests
        if is_full or (self._streams and num_waiting_tokens + num_prompt_tokens > config.max_waiting_tokens):
            raise RateLimitError(
                f"The server is working on {len(self._streams)} requests and takes no more. Please try again later.",
                retry_after_seconds=min(60.0, max(1.0, num_waiting_tokens / self._tokens_per_second)),
            )

    def _run(self) -> None:
        while self._take_in():
            started, before = time.perf_counter(), self._num_tokens()
            try:
                outputs = self._core.step()
            except Exception as error:
                logger.exception("engine_step_failed")
                self._fail_all(error)
                continue
            self._deliver([(request_id, output) for request_id, output in outputs])
            speed = (self._num_tokens() - before) / max(time.perf_counter() - started, 1e-6)
            self._tokens_per_second = max(1.0, _SPEED_MEMORY * self._tokens_per_second + (1 - _SPEED_MEMORY) * speed)

    def _num_tokens(self) -> int:
        stats = self._core.stats()
        return stats.prompt_tokens + stats.generation_tokens

    def _take_in(self) -> bool:
        """Carry new requests and cancellations over; waits while there is nothing to do. False ends the thread."""
        while True:
            try:
                item = self._inbox.get(block=not self._core.has_work)
            except queue.Empty:
                return True
            if item is None:
                return False
            if isinstance(item, int):
                self._core.abort_request(item)
            elif isinstance(item, _Stream):
                self._add(item)
            else:
                item()

    def _add(self, stream: _Stream) -> None:
        try:
            self._core.add_request(stream.request_id, stream.prompt_token_ids, stream.params, stream.adapter)
        except APIError as error:
            self._deliver([(stream.request_id, error)])

    def _fail_all(self, error: Exception) -> None:
        self._core.reset()
        failure = ServiceUnavailableError("The model failed while computing this request; it is ready for others.")
        failure.__cause__ = error
        self._deliver([(request_id, failure) for request_id in list(self._streams)])

    def _deliver(self, events: list[tuple[int, GenerationOutput | Exception]]) -> None:
        """Hand events to their callers, waking each event loop once."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Stream, GenerationOutput | Exception]]] = defaultdict(list)
        for request_id, event in events:
            stream = self._streams.get(request_id)
            if stream is not None:
                by_loop[stream.loop].append((stream, event))
        for loop, arrived in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_put_all, arrived)


def _put_all(arrived: list[tuple[_Stream, GenerationOutput | Exception]]) -> None:
    for stream, event in arrived:
        stream.events.put_nowait(event)
