"""The completions resource: continues prompts (contract: completions). Leaves computing to the engine."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from openhearth import clock, ids
from openhearth.engine.base import GenerationOutput, SamplingParams, TextEngine
from openhearth.errors import InvalidValueError
from openhearth.schemas.completions import CompletionChoice, CreateCompletionRequest, CreateCompletionResponse
from openhearth.schemas.extended_completions import CreateExtendedCompletionRequest
from openhearth.schemas.shared import CompletionUsage
from openhearth.services.candidates import Candidates, Tokens
from openhearth.services.completion_choices import ChoiceWriter, Prompt
from openhearth.services.extended_completions import extended, with_token_ids
from openhearth.services.generation import (
    Generation,
    NumberedOutputs,
    Tally,
    check_context_length,
    check_stream_options,
    includes_usage,
    sampling_params,
)
from openhearth.services.model_host import LoadedModel, ModelHost
from openhearth.services.rate_limits import UNLIMITED, Allowance


class Completions:
    """Creates completions, whole or as a stream."""

    def __init__(self, host: ModelHost, generation: Generation, *, now: clock.Clock = clock.now) -> None:
        self._host = host
        self._generation = generation
        self._now = now

    async def create(
        self, project: str, request: CreateCompletionRequest, allowance: Allowance = UNLIMITED
    ) -> CreateCompletionResponse:
        """Continue all prompts to their end. Raises `APIError` if the request cannot be carried out."""
        job = await self._prepare(project, request)
        tally, candidates = Tally(), Candidates()
        async with aclosing(self._run(job, tally, allowance)) as outputs:
            async for number, output in outputs:
                candidates.add(number, output)
        choices = [
            job.writer(number, place).write(
                candidate.text,
                tuple(candidate.tokens),
                prompt_tokens=candidates.scores(number),
                finish_reason=candidate.finish_reason,
            )
            for number in range(len(job.prompts))
            for place, candidate in enumerate(candidates.best(number, request.n))
        ]
        return job.response(choices, usage=tally.usage())

    async def stream(
        self, project: str, request: CreateCompletionRequest, allowance: Allowance = UNLIMITED
    ) -> AsyncGenerator[CreateCompletionResponse]:
        """Continue all prompts, and yield what each choice gains; the first piece comes once nothing was refused."""
        job = await self._prepare(project, request)
        tally = Tally()
        scores: dict[int, Tokens] = {}
        writers = {
            (number, index): job.writer(number, index)
            for number in range(len(job.prompts))
            for index in range(request.n)
        }
        async with aclosing(self._run(job, tally, allowance)) as outputs:
            async for number, output in outputs:
                scores.setdefault(number, output.prompt_logprobs or ())
                writer = writers[number, output.index]
                if output.text or output.token_ids or writer.is_echo_due:
                    piece = writer.write(output.text, output.logprobs or (), prompt_tokens=scores[number])
                    yield job.event([piece])
                if output.finish_reason:
                    yield job.event([writer.end(output.finish_reason)])
        if job.includes_usage:
            yield job.event([], usage=tally.usage())

    async def _prepare(self, project: str, request: CreateCompletionRequest) -> "_Job":
        _check(request)
        model = await self._host.get(request.model, project=project)
        job = _Job(
            request=request,
            model=model,
            prompts=await _read_prompts(request, model.engine),
            id=ids.completion_id(),
            created=int(self._now()),
        )
        prompts = [prompt.token_ids for prompt in job.prompts]
        check_context_length(model, prompts, max_tokens=request.max_tokens, param="prompt")
        return job

    async def _run(self, job: "_Job", tally: Tally, allowance: Allowance) -> NumberedOutputs:
        params = _sampling_params(job.request)
        prompts = [prompt.token_ids for prompt in job.prompts]
        outputs = self._generation.run(job.model, prompts, params, tally=tally)
        if params.prompt_logprobs is not None:
            outputs = scores_first(outputs)
        if isinstance(job.request, CreateExtendedCompletionRequest) and job.request.return_tokens_as_token_ids:
            outputs = with_token_ids(outputs)
        num_tokens = sum(map(len, prompts)) + len(prompts) * params.n * params.max_tokens
        with allowance.holding(num_tokens, model=job.request.model, used=tally.num_tokens):
            async with aclosing(outputs):
                async for numbered in outputs:
                    yield numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One request, with everything that is settled before the first token."""

    request: CreateCompletionRequest
    model: LoadedModel
    prompts: list[Prompt]
    id: str
    created: int

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return includes_usage(self.request)

    def writer(self, number: int, place: int) -> ChoiceWriter:
        """Return a writer for a choice of prompt `number`."""
        return ChoiceWriter(
            number * self.request.n + place,
            self.prompts[number],
            echo=self.request.echo,
            has_logprobs=self.request.logprobs is not None,
        )

    def event(self, choices: list[CompletionChoice], usage: CompletionUsage | None = None) -> CreateCompletionResponse:
        """Return an event of the stream; all of them have a `usage` if one of them brings it."""
        return self.response(choices, usage=usage) if self.includes_usage else self.response(choices)

    def response(self, choices: list[CompletionChoice], **usage: CompletionUsage | None) -> CreateCompletionResponse:
        """Return a response with these choices."""
        return CreateCompletionResponse(
            id=self.id,
            object="text_completion",
            created=self.created,
            model=self.model.id,
            system_fingerprint=self.model.system_fingerprint,
            choices=choices,
            **usage,
        )


def _check(request: CreateCompletionRequest) -> None:
    check_stream_options(request)
    if request.best_of is not None and request.n > request.best_of:
        raise InvalidValueError(
            "You requested that the server return more choices than it will generate (HINT: you must set 'n' "
            f"(currently {request.n}) to be at most 'best_of' (currently {request.best_of}), or omit either "
            "parameter if you don't specifically want to use them.)",
            param="best_of",
        )
    if request.stream and (request.best_of or 1) > 1:
        raise InvalidValueError(
            "The results of 'best_of' cannot be streamed: which candidate is best shows at the end.", param="best_of"
        )


async def _read_prompts(request: CreateCompletionRequest, engine: TextEngine) -> list[Prompt]:
    prompts = _separate(request.prompt)
    return await asyncio.gather(*(_read_prompt(prompt, engine, suffix=request.suffix or None) for prompt in prompts))


def _separate(prompt: str | list[str] | list[int] | list[list[int]] | None) -> Sequence[str | list[int]]:
    """Return the prompts of a request one by one; none at all is the start of a document."""
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    return [prompt] if isinstance(prompt[0], int) else cast("list[str | list[int]]", prompt)


async def _read_prompt(prompt: str | list[int], engine: TextEngine, *, suffix: str | None) -> Prompt:
    if isinstance(prompt, str):
        return Prompt(await engine.encode(prompt, suffix=suffix), prompt)
    text = engine.decode(prompt)
    return Prompt(prompt if suffix is None else await engine.encode(text, suffix=suffix), text)


def _sampling_params(request: CreateCompletionRequest) -> SamplingParams:
    n = max(request.n, request.best_of or 1)
    chooses = n > request.n
    params = replace(
        sampling_params(request),
        n=n,
        max_tokens=request.max_tokens,
        logprobs=0 if request.logprobs is None and chooses else request.logprobs,
        prompt_logprobs=request.logprobs if request.echo else None,
    )
    return extended(params, request) if isinstance(request, CreateExtendedCompletionRequest) else params


async def scores_first(outputs: NumberedOutputs) -> NumberedOutputs:
    """Hold back what the other candidates of a prompt gain before its scores have come, with its first candidate."""
    held: dict[int, list[GenerationOutput]] = defaultdict(list)
    scored: set[int] = set()
    async with aclosing(outputs):
        async for number, output in outputs:
            if output.prompt_logprobs is not None:
                scored.add(number)
            elif number not in scored:
                held[number].append(output)
                continue
            yield number, output
            for early in held.pop(number, ()):
                yield number, early
