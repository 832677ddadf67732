"""The text engine whose computing is done by another server, behind any OpenAI-compatible base URL.

Tokens are made here, with the model's own tokenizer, and travel as arrays of ids: what the other server computes is
what was asked for, whatever its tokenizer endpoints are called or leave out.
"""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openhearth.engine.base import (
    EngineStats,
    FinishReason,
    GenerationOutput,
    LoRARequest,
    SamplingParams,
    TokenLogprob,
)
from openhearth.engine.remote.candidate import RemoteCandidate
from openhearth.engine.remote.client import RemoteClient
from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.remote.requests import continuation, scoring
from openhearth.engine.remote.tokens import TokenReader
from openhearth.engine.text.tokenizing import TokenizingEngine
from openhearth.errors import (
    ModelLoadError,
    ServiceUnavailableError,
    UnsupportedParameterError,
)


@dataclass(slots=True)
class _Request:
    """One request, as far as it has come."""

    prompt_token_ids: list[int]
    params: SamplingParams
    scores: tuple[TokenLogprob, ...] | None = None
    num_cached_tokens: int | None = None
    num_output_tokens: int = 0
    num_tokens_of_candidate: dict[int, int] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)

    def output(
        self, index: int, text: str, tokens: tuple[TokenLogprob, ...], reason: FinishReason | None
    ) -> GenerationOutput:
        """Return what a candidate gained; the first output of the first one brings the scores of the prompt."""
        scores = None
        if index == 0:
            scores, self.scores = self.scores, None
        if reason:
            self.finished.add(index)
        return GenerationOutput(
            index=index,
            text=text,
            token_ids=tuple(token.token_id for token in tokens),
            num_prompt_tokens=len(self.prompt_token_ids),
            num_cached_tokens=self.num_cached_tokens or 0,
            num_output_tokens=self.num_output_tokens,
            logprobs=None if self.params.logprobs is None else tokens,
            prompt_logprobs=scores,
            finish_reason=reason,
        )

    @property
    def is_finished(self) -> bool:
        """Whether all candidates are."""
        return len(self.finished) == self.params.n


class RemoteTextEngine(TokenizingEngine):
    """One model on another server; see `engine/base.py` for what each method promises."""

    def __init__(self, config: RemoteConfig) -> None:
        """Read the tokenizer; the server is not asked before the first request. Raises `ModelLoadError`."""
        model_config = _read_config(config.tokenizer)
        max_model_len = config.max_model_len or model_config.get("max_position_embeddings")
        if max_model_len is None:
            raise ModelLoadError(
                f"How many tokens {config.model} takes is not known: set 'max_model_len' of the remote, or put the "
                f"model's config.json beside {config.tokenizer / 'tokenizer.json'}."
            )
        super().__init__(config.tokenizer, vocab_size=model_config.get("vocab_size"), max_model_len=max_model_len)
        self._config = config
        self._reader = TokenReader(self._vocabulary)
        self._client = RemoteClient(config)
        self._counts: Counter[str] = Counter()
        self._is_closed = False

    async def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams, *, lora: LoRARequest | None = None
    ) -> AsyncGenerator[GenerationOutput]:
        """Continue one prompt; closing the iterator closes the connection, which frees what the server holds."""
        self._check_request(prompt_token_ids, params, lora)
        request = _Request(list(prompt_token_ids), params)
        with self._counted() as has_begun:
            if params.prompt_logprobs is not None:
                await self._score(request, params.prompt_logprobs)
            self._counts["prompt_tokens"] += len(request.prompt_token_ids)
            outputs = self._continue(request) if params.max_tokens else _nothing(request)
            async with aclosing(outputs):
                async for output in outputs:
                    has_begun()
                    yield output
            self._counts["prefix_cache_hits"] += request.num_cached_tokens or 0

    def stats(self) -> EngineStats:
        """Return a reading of what this side sees; the cache is the other server's own affair."""
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
        """Do nothing: the other server has adapters of its own."""

    async def unload_idle_loras(self, idle_seconds: float) -> None:
        """Do nothing, for the same reason."""

    async def close(self) -> None:
        """Close all connections; running requests end with an error."""
        self._is_closed = True
        await self._client.close()

    async def _score(self, request: _Request, num_alternatives: int) -> None:
        """Have the prompt scored, in a request of its own: one that also generates has but one `logprobs` for both."""
        members = scoring(request.prompt_token_ids, num_alternatives, dialect=self._config.dialect)
        completion = await self._client.create(members)
        scores = self._reader.read(completion["choices"][0]["logprobs"], num_alternatives)
        scores = scores[: len(request.prompt_token_ids)]
        if [score.token_id for score in scores] != request.prompt_token_ids:
            raise ServiceUnavailableError("The server behind this model did not score the prompt it was sent.")
        request.scores = tuple(scores)
        request.num_cached_tokens = _cached_tokens(completion.get("usage"))

    async def _continue(self, request: _Request) -> AsyncGenerator[GenerationOutput]:
        """Yield outputs as they come; the very last one waits for the usage, which follows it."""
        members = continuation(request.prompt_token_ids, request.params, dialect=self._config.dialect)
        eos_token_ids = frozenset() if request.params.ignore_eos else self._tokenizer.eos_token_ids
        candidates = [RemoteCandidate(self._vocabulary, eos_token_ids=eos_token_ids) for _ in range(request.params.n)]
        last: GenerationOutput | None = None
        async with aclosing(self._client.stream(members)) as events:
            async for event in events:
                if self._is_closed:
                    break
                for choice in event.get("choices", ()):
                    output = self._read(choice, request, candidates[choice["index"]])
                    if request.is_finished:
                        last = output
                    else:
                        yield output
                self._take_usage(request, event)
        if last is None:
            raise ServiceUnavailableError("The server behind this model ended before its answer did.")
        cached = request.num_cached_tokens or 0
        yield replace(last, num_output_tokens=request.num_output_tokens, num_cached_tokens=cached)

    def _read(self, choice: Mapping[str, Any], request: _Request, candidate: RemoteCandidate) -> GenerationOutput:
        tokens = self._reader.read(choice.get("logprobs"), request.params.logprobs or 0)
        self._count_output(request, request.num_output_tokens + len(tokens))
        text, reason = choice.get("text") or "", _finish_reason(choice.get("finish_reason"))
        return request.output(choice["index"], text, candidate.take(text, tokens, reason), reason)

    def _take_usage(self, request: _Request, event: Mapping[str, Any]) -> None:
        """Note what an event counts: all candidates, or, beside the end of one (llama.cpp), that candidate alone."""
        usage = event.get("usage")
        if usage is None:
            return
        if choices := event.get("choices"):
            request.num_tokens_of_candidate[choices[0]["index"]] = usage["completion_tokens"]
            counted = sum(request.num_tokens_of_candidate.values())
            self._count_output(request, max(request.num_output_tokens, counted))
        else:
            self._count_output(request, usage["completion_tokens"])
        if request.num_cached_tokens is None:
            request.num_cached_tokens = _cached_tokens(usage)

    def _count_output(self, request: _Request, num_output_tokens: int) -> None:
        self._counts["generation_tokens"] += num_output_tokens - request.num_output_tokens
        request.num_output_tokens = num_output_tokens

    def _check_request(self, prompt_token_ids: Sequence[int], params: SamplingParams, lora: LoRARequest | None) -> None:
        if self._is_closed:
            raise ServiceUnavailableError("The server is shutting down.")
        if lora is not None:
            raise UnsupportedParameterError(
                f"The adapter {lora.name} cannot be used: another server computes its base model.", param="model"
            )
        self._check_prompt(prompt_token_ids, params)

    @contextmanager
    def _counted(self) -> Iterator[Callable[[], None]]:
        """Count a request as waiting until its first output, then as running."""
        state = "waiting"

        def begin() -> None:
            nonlocal state
            self._counts[state] -= 1
            state = "running"
            self._counts[state] += 1

        self._counts[state] += 1
        try:
            yield begin
        finally:
            self._counts[state] -= 1


async def _nothing(request: _Request) -> AsyncGenerator[GenerationOutput]:
    """Yield the only output of each candidate of which no token is wanted."""
    for index in range(request.params.n):
        yield request.output(index, "", (), "length")


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    config: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return config


def _finish_reason(reason: str | None) -> FinishReason | None:
    return None if reason is None else "length" if reason == "length" else "stop"


def _cached_tokens(usage: Mapping[str, Any] | None) -> int:
    return ((usage or {}).get("prompt_tokens_details") or {}).get("cached_tokens") or 0
