"""The chat completions resource: the next message of a chat (contract: chat). Leaves computing to the engine."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from openhearth import clock, ids
from openhearth.engine.base import SamplingParams
from openhearth.errors import ContextLengthExceededError, InvalidValueError, UnsupportedParameterError
from openhearth.schemas.chat_completions import (
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    CreateChatCompletionStreamResponse,
)
from openhearth.schemas.chat_tools import ResponseFormatJsonObject
from openhearth.services.chat_choices import DeltaWriter, MessageWriter
from openhearth.services.chat_messages import read_messages
from openhearth.services.generation import (
    Generation,
    NumberedOutputs,
    Tally,
    check_stream_options,
    includes_usage,
    sampling_params,
)
from openhearth.services.grammars import answer_grammar
from openhearth.services.model_host import LoadedModel, ModelHost
from openhearth.services.rate_limits import UNLIMITED, Allowance
from openhearth.services.tool_use import ToolUse, read_tool_use

Writer = TypeVar("Writer", MessageWriter, DeltaWriter)


class ChatCompletions:
    """Creates chat completions, whole or as a stream."""

    def __init__(self, host: ModelHost, generation: Generation, *, now: clock.Clock = clock.now) -> None:
        self._host = host
        self._generation = generation
        self._now = now

    async def create(
        self, project: str, request: CreateChatCompletionRequest, allowance: Allowance = UNLIMITED
    ) -> CreateChatCompletionResponse:
        """Write the next message to its end. Raises `APIError` if the request cannot be carried out."""
        job = await self._prepare(project, request)
        tally, writers = Tally(), job.writers(MessageWriter)
        async with aclosing(self._run(job, tally, allowance)) as outputs:
            async for _, output in outputs:
                writers[output.index].add(output)
        return CreateChatCompletionResponse(
            object="chat.completion",
            choices=[writer.choice() for writer in writers],
            usage=tally.usage(),
            **job.constant_members(),
        )

    async def stream(
        self, project: str, request: CreateChatCompletionRequest, allowance: Allowance = UNLIMITED
    ) -> AsyncGenerator[CreateChatCompletionStreamResponse]:
        """Write the next message, and yield what it gains; the first piece comes once nothing was refused."""
        job = await self._prepare(project, request)
        tally, writers = Tally(), job.writers(DeltaWriter)
        async with aclosing(self._run(job, tally, allowance)) as outputs:
            async for _, output in outputs:
                for choice in writers[output.index].write(output):
                    yield job.chunk([choice])
        if job.includes_usage:
            yield job.chunk([], usage=tally.usage())

    async def _prepare(self, project: str, request: CreateChatCompletionRequest) -> "_Job":
        _check(request)
        tool_use = read_tool_use(request)
        messages = read_messages(request.messages)
        _check_json_is_asked_for(request, messages)
        model = await self._host.get(request.model, project=project)
        grammar = await _grammar(request, tool_use, model)
        prompt = await model.engine.render_chat(messages, tools=[tool.described() for tool in tool_use.shown])
        max_tokens = _max_tokens(request, model, num_prompt_tokens=len(prompt))
        return _Job(
            request=request,
            model=model,
            prompt=prompt,
            params=_sampling_params(request, max_tokens=max_tokens, grammar=grammar),
            tool_use=tool_use,
            id=ids.chat_completion_id(),
            created=int(self._now()),
        )

    async def _run(self, job: "_Job", tally: Tally, allowance: Allowance) -> NumberedOutputs:
        outputs = self._generation.run(job.model, [job.prompt], job.params, tally=tally)
        with allowance.holding(job.num_foreseen_tokens, model=job.request.model, used=tally.num_tokens):
            async with aclosing(outputs):
                async for numbered in outputs:
                    yield numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One request, with everything that is settled before the first token."""

    request: CreateChatCompletionRequest
    model: LoadedModel
    prompt: list[int]
    params: SamplingParams
    tool_use: ToolUse
    id: str
    created: int

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return includes_usage(self.request)

    @property
    def num_foreseen_tokens(self) -> int:
        """How many tokens the request asks for; an answer of no stated length counts when it is there."""
        return len(self.prompt) + self.request.n * (_wanted_tokens(self.request) or 0)

    def writers(self, kind: type[Writer]) -> list[Writer]:
        """Return a writer for each choice."""
        written, has_logprobs = self.model.engine.tool_call_format, self.request.logprobs
        return [kind(index, self.tool_use, written, has_logprobs=has_logprobs) for index in range(self.request.n)]

    def chunk(self, choices: list[Any], **usage: Any) -> CreateChatCompletionStreamResponse:
        """Return an event of the stream; all of them have a `usage` if one of them brings it."""
        if self.includes_usage:
            usage = {"usage": None} | usage
        return CreateChatCompletionStreamResponse(
            object="chat.completion.chunk", choices=choices, **self.constant_members(), **usage
        )

    def constant_members(self) -> dict[str, Any]:
        """Return what the whole and each of its pieces have in common."""
        tier: dict[str, Literal["default"]] = {} if self.request.service_tier is None else {"service_tier": "default"}
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model.id,
            "system_fingerprint": self.model.system_fingerprint,
            **tier,
        }


def _check(request: CreateChatCompletionRequest) -> None:
    check_stream_options(request)
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidValueError(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs"
        )
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidValueError(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", param="max_tokens"
        )
    _check_supported(request)


def _check_supported(request: CreateChatCompletionRequest) -> None:
    """Refuse what would make the answer another one, and cannot be honoured."""
    unsupported = {
        "audio": request.audio is not None,
        "modalities": "audio" in (request.modalities or ()),
        "moderation": request.moderation is not None,
        "reasoning_effort": request.reasoning_effort not in (None, "none"),
        "verbosity": request.verbosity not in (None, "medium"),
        "web_search_options": request.web_search_options is not None,
    }
    for name, is_asked_for in unsupported.items():
        if is_asked_for:
            raise UnsupportedParameterError(
                f"Unsupported parameter: '{name}' is not supported with this model.", param=name
            )


def _check_json_is_asked_for(request: CreateChatCompletionRequest, messages: list[dict[str, Any]]) -> None:
    if not isinstance(request.response_format, ResponseFormatJsonObject):
        return
    if not any("json" in message["content"].lower() for message in messages):
        raise InvalidValueError(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            param="messages",
        )


async def _grammar(request: CreateChatCompletionRequest, tool_use: ToolUse, model: LoadedModel) -> str | None:
    if request.response_format is None and not tool_use.callable:
        return None
    # A new schema can take a while to check, which must not hold up everybody else.
    return await asyncio.to_thread(answer_grammar, request.response_format, tool_use, model.engine.tool_call_format)


def _max_tokens(request: CreateChatCompletionRequest, model: LoadedModel, *, num_prompt_tokens: int) -> int:
    """Return how many tokens the answer may have: as many as asked for, or as many as there is room for."""
    limit, wanted = model.engine.max_model_len, _wanted_tokens(request)
    if num_prompt_tokens + (wanted or 1) <= limit:
        return wanted or limit - num_prompt_tokens
    if wanted is None:
        problem = f"your messages resulted in {num_prompt_tokens} tokens. Please reduce the length of the messages."
    else:
        problem = (
            f"you requested {num_prompt_tokens + wanted} tokens ({num_prompt_tokens} in the messages, {wanted} in the "
            "completion). Please reduce the length of the messages or completion."
        )
    raise ContextLengthExceededError(
        f"This model's maximum context length is {limit} tokens. However, {problem}", param="messages"
    )


def _wanted_tokens(request: CreateChatCompletionRequest) -> int | None:
    return request.max_completion_tokens or request.max_tokens


def _sampling_params(request: CreateChatCompletionRequest, *, max_tokens: int, grammar: str | None) -> SamplingParams:
    return replace(
        sampling_params(request),
        max_tokens=max_tokens,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        grammar=grammar,
    )
