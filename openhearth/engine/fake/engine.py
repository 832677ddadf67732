"""`FakeTextEngine`: the whole `TextEngine` protocol over the byte model, for tests and for trying a client.

Knows slots, a queue, a prefix cache and cancellation, as honestly as an engine with weights; leaves speed to those.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from openhearth.chat_template import ChatTemplate, ToolCallFormat
from openhearth.engine.base import EngineStats, GenerationOutput, LoRARequest, SamplingParams
from openhearth.engine.fake import model
from openhearth.engine.fake.candidate import Candidate
from openhearth.engine.fake.grammar import start
from openhearth.engine.text.limits import check_prompt, check_vocabulary
from openhearth.errors import (
    RateLimitError,
    ServiceUnavailableError,
    UnsupportedParameterError,
)

CHAT_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "
_BLOCK_SIZE = 16


class FakeTextEngine:
    """A `TextEngine` that needs no weights; `step_seconds` is how long it takes to compute one token."""

    def __init__(
        self,
        *,
        max_model_len: int = 2048,
        max_num_seqs: int = 64,
        max_waiting_requests: int = 256,
        step_seconds: float = 0.0,
        chat_template: str = CHAT_TEMPLATE,
    ) -> None:
        self._max_model_len = max_model_len
        self._slots = asyncio.Semaphore(max_num_seqs)
        self._max_waiting_requests = max_waiting_requests
        self._step_seconds = step_seconds
        self._counts: Counter[str] = Counter()
        self._cached_prefixes: set[int] = set()
        self._closed = False
        self._chat_template = ChatTemplate({"default": chat_template}, special_tokens={})

    @property
    def max_model_len(self) -> int:
        """The most tokens that a prompt and its completion may have together."""
        return self._max_model_len

    @property
    def tool_call_format(self) -> ToolCallFormat:
        """How tools are called."""
        return self._chat_template.tool_call_format

    async def encode(self, text: str, *, suffix: str | None = None) -> list[int]:
        """Return the UTF-8 bytes of `text`; the empty text is the end of the document before it."""
        if suffix is not None:
            raise UnsupportedParameterError("This model cannot fill in the middle of a text.", param="suffix")
        return list(text.encode()) or [model.END_OF_TEXT]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of `token_ids`; bytes that are not UTF-8 become U+FFFD."""
        check_vocabulary(token_ids, model.VOCABULARY_SIZE, param="prompt")
        return b"".join(map(model.token_bytes, token_ids)).decode(errors="replace")

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """Return the prompt that asks for the next message, one line for each message so far."""
        return await self.encode(self._chat_template.render(messages, tools=tools))

    async def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams, *, lora: LoRARequest | None = None
    ) -> AsyncGenerator[GenerationOutput]:
        """Continue one prompt, one token of every unfinished candidate in turn.

        An adapter makes the model skip as many tokens as its name has letters.
        """
        shift = 0 if lora is None else len(lora.name)
        prompt = tuple(prompt_token_ids)
        self._check(prompt, params)
        async with self._slot():
            async for output in self._run(prompt, params, shift):
                yield output

    def stats(self) -> EngineStats:
        """Return a reading of the gauges and counters; a request counts as one sequence."""
        return EngineStats(
            num_requests_running=self._counts["running"],
            num_requests_waiting=self._counts["waiting"],
            kv_cache_usage=0.0,
            prompt_tokens=self._counts["prompt_tokens"],
            generation_tokens=self._counts["generation_tokens"],
            num_preemptions=0,
            prefix_cache_queries=self._counts["prompt_tokens"],
            prefix_cache_hits=self._counts["prefix_cache_hits"],
        )

    async def prepare_lora(self, target_modules: str) -> None:
        """Do nothing: adapters are ready at once."""

    async def unload_idle_loras(self, idle_seconds: float) -> None:
        """Do nothing: adapters take no memory."""

    async def close(self) -> None:
        """End all requests with an error, now and later."""
        self._closed = True

    def _check(self, prompt: tuple[int, ...], params: SamplingParams) -> None:
        check_prompt(prompt, params, vocab_size=model.VOCABULARY_SIZE, max_model_len=self._max_model_len)
        if params.grammar is not None:
            start(params.grammar)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._slots.locked() and self._counts["waiting"] >= self._max_waiting_requests:
            raise RateLimitError("The queue is full. Try again later.", retry_after_seconds=1.0)
        self._counts["waiting"] += 1
        try:
            await self._slots.acquire()
        finally:
            self._counts["waiting"] -= 1
        self._counts["running"] += 1
        try:
            yield
        finally:
            self._counts["running"] -= 1
            self._slots.release()

    async def _run(
        self, prompt: tuple[int, ...], params: SamplingParams, shift: int
    ) -> AsyncGenerator[GenerationOutput]:
        wanted = params.prompt_logprobs
        scores = None if wanted is None else model.prompt_logprobs(prompt, wanted, shift)
        blank = GenerationOutput(
            index=0,
            text="",
            token_ids=(),
            num_prompt_tokens=len(prompt),
            num_cached_tokens=self._read_prefix_cache(prompt, shift),
            num_output_tokens=0,
            logprobs=None if params.logprobs is None else (),
        )
        num_output_tokens = 0
        candidates = [Candidate(index, prompt, params, shift) for index in range(params.n)]
        while unfinished := [candidate for candidate in candidates if candidate.finish_reason is None]:
            for candidate in unfinished:
                num_output_tokens += await self._compute(candidate)
                output = candidate.take(replace(blank, num_output_tokens=num_output_tokens))
                if output.token_ids or output.finish_reason:
                    yield replace(output, prompt_logprobs=scores if output.index == 0 else None)
                    scores = None if output.index == 0 else scores

    async def _compute(self, candidate: Candidate) -> int:
        await asyncio.sleep(self._step_seconds)
        if self._closed:
            raise ServiceUnavailableError("The engine was closed.")
        num_computed = candidate.advance()
        self._counts["generation_tokens"] += num_computed
        return num_computed

    def _read_prefix_cache(self, prompt: tuple[int, ...], shift: int) -> int:
        """Return how many leading tokens were seen before, in whole blocks; the last token is always computed."""
        prefixes = {end: hash((shift, prompt[:end])) for end in range(_BLOCK_SIZE, len(prompt), _BLOCK_SIZE)}
        num_cached_tokens = max((end for end, key in prefixes.items() if key in self._cached_prefixes), default=0)
        self._cached_prefixes.update(prefixes.values())
        self._counts["prompt_tokens"] += len(prompt)
        self._counts["prefix_cache_hits"] += num_cached_tokens
        return num_cached_tokens
