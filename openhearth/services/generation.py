"""Running the prompts of one request through an engine: all at once, counted, and given up together.

What the outputs become is decided by the services of the resources.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from openhearth.engine.base import GenerationOutput, SamplingParams
from openhearth.errors import ContextLengthExceededError, InvalidValueError
from openhearth.schemas.shared import (
    CompletionTokensDetails,
    CompletionUsage,
    GenerationRequest,
    PromptTokensDetails,
)
from openhearth.services.metrics import Metrics
from openhearth.services.model_host import LoadedModel
from openhearth.services.time_limit import in_time

MAX_PROMPTS_AT_ONCE = 64
"""How many prompts of one request an engine gets at a time; the others wait here, without a place in its queue."""

_ADVICE = "Please ask for fewer tokens or send fewer prompts at once."

TokenIds = Sequence[int]
NumberedOutputs = AsyncGenerator[tuple[int, GenerationOutput]]


@dataclass(frozen=True, slots=True)
class Tally:
    """The latest output of each prompt of a request, which holds its counts so far."""

    latest: dict[int, GenerationOutput] = field(default_factory=dict)

    def num_tokens(self) -> int:
        """Return how many tokens were used so far, of prompts and generated."""
        return sum(output.num_prompt_tokens + output.num_output_tokens for output in self.latest.values())

    def usage(self) -> CompletionUsage:
        """Return what was used so far: each prompt once, and every token that was generated."""
        outputs = self.latest.values()
        prompt_tokens = sum(output.num_prompt_tokens for output in outputs)
        completion_tokens = sum(output.num_output_tokens for output in outputs)
        cached_tokens = sum(output.num_cached_tokens for output in outputs)
        return CompletionUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(audio_tokens=0, cached_tokens=cached_tokens),
            completion_tokens_details=CompletionTokensDetails(
                accepted_prediction_tokens=0, audio_tokens=0, reasoning_tokens=0, rejected_prediction_tokens=0
            ),
        )


class Generation:
    """Feeds prompts to engines, takes the time, and ends a request that takes too much of it."""

    def __init__(self, metrics: Metrics, *, timeout_seconds: float) -> None:
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds

    async def run(
        self, model: LoadedModel, prompts: Sequence[TokenIds], params: SamplingParams, *, tally: Tally
    ) -> NumberedOutputs:
        """Continue all prompts at once; yield each output with the number of its prompt, and count it in `tally`.

        If one prompt fails, the others are given up; so are all of them when the iterator is closed. Raises
        `GenerationTimeoutError` when the time of the request is over, the time it waited for its turn included.
        """
        if len(prompts) == 1:
            merged = _numbered(0, self._timed(model, prompts[0], params))
        else:
            merged = _merge([self._timed(model, prompt, params) for prompt in prompts])
        timed = in_time(merged, timeout_seconds=self._timeout_seconds, advice=_ADVICE)
        async with aclosing(timed) as outputs:
            async for number, output in outputs:
                tally.latest[number] = output
                yield number, output

    async def _timed(
        self, model: LoadedModel, prompt: TokenIds, params: SamplingParams
    ) -> AsyncGenerator[GenerationOutput]:
        arrival = time.perf_counter()
        has_started, reason = False, ""
        async with aclosing(model.engine.generate(prompt, params, lora=model.lora)) as outputs:
            async for output in outputs:
                if not has_started:
                    self._metrics.started(model.id, seconds=time.perf_counter() - arrival)
                    has_started = True
                reason = reason or output.finish_reason or ""
                yield output
        self._metrics.finished(model.id, reason, seconds=time.perf_counter() - arrival)


def check_stream_options(request: GenerationRequest) -> None:
    """Raise `InvalidValueError` for options of a stream that nobody asked for."""
    if request.stream_options is not None and not request.stream:
        raise InvalidValueError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )


def includes_usage(request: GenerationRequest) -> bool:
    """Return whether a stream ends with the usage."""
    return request.stream_options is not None and request.stream_options.include_usage


def sampling_params(request: GenerationRequest) -> SamplingParams:
    """Return what requests of either kind say of sampling; what only one of them says is left at its default."""
    return SamplingParams(
        n=request.n,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias={int(token_id): float(bias) for token_id, bias in request.logit_bias.items()},
    )


def check_context_length(model: LoadedModel, prompts: Sequence[TokenIds], *, max_tokens: int, param: str) -> None:
    """Raise `ContextLengthExceededError` if the longest prompt leaves less than `max_tokens` of the context."""
    limit, num_prompt_tokens = model.engine.max_model_len, max(map(len, prompts))
    if num_prompt_tokens + max_tokens > limit:
        raise ContextLengthExceededError(
            f"This model's maximum context length is {limit} tokens, however you requested "
            f"{num_prompt_tokens + max_tokens} tokens ({num_prompt_tokens} in your prompt; {max_tokens} for the "
            "completion). Please reduce your prompt; or completion length.",
            param=param,
        )


async def _numbered(number: int, outputs: AsyncGenerator[GenerationOutput]) -> NumberedOutputs:
    async with aclosing(outputs):
        async for output in outputs:
            yield number, output


async def _merge(streams: Sequence[AsyncGenerator[GenerationOutput]]) -> NumberedOutputs:
    """Yield from all streams as they come; raise the first failure and give up the rest."""
    news: asyncio.Queue[tuple[int, GenerationOutput | Exception | None]] = asyncio.Queue()
    places = asyncio.Semaphore(MAX_PROMPTS_AT_ONCE)

    async def feed(number: int, stream: AsyncGenerator[GenerationOutput]) -> None:
        try:
            async with places, aclosing(stream):
                async for output in stream:
                    news.put_nowait((number, output))
            news.put_nowait((number, None))
        except Exception as error:
            news.put_nowait((number, error))

    feeders = [asyncio.create_task(feed(number, stream)) for number, stream in enumerate(streams)]
    try:
        num_open = len(streams)
        while num_open:
            number, item = await news.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                num_open -= 1
            else:
                yield number, item
    finally:
        for feeder in feeders:
            feeder.cancel()
        await asyncio.gather(*feeders, return_exceptions=True)
