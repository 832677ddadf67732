"""What a candidate of a chat looks like on the wire: a message, or the deltas that add up to one."""

import json
from collections.abc import Iterable

from openhearth import ids
from openhearth.chat_template import ToolCallFormat
from openhearth.engine.base import GenerationOutput, TokenLogprob
from openhearth.schemas.chat_completions import (
    CalledCustomTool,
    CalledFunction,
    ChatCompletionChoice,
    ChatCompletionMessageToolCallChunk,
    ChatCompletionResponseMessage,
    ChatCompletionStreamChoice,
    ChatCompletionStreamResponseDelta,
    ChatCompletionTokenLogprob,
    ChoiceLogprobs,
    CustomToolDelta,
    FunctionDelta,
    ResponseToolCall,
    TopLogprob,
)
from openhearth.schemas.shared import FinishReason
from openhearth.services.completion_choices import finite
from openhearth.services.tool_calls import ArgumentsGained, CallBegun, ContentGained, Event, ToolCallReader
from openhearth.services.tool_use import ToolUse

Tokens = tuple[TokenLogprob, ...]


class AnswerReader:
    """Reads one candidate's outputs as events, and knows which of its tokens are content."""

    def __init__(self, tool_use: ToolUse, written: ToolCallFormat) -> None:
        self._tool_use = tool_use
        self._calls = ToolCallReader(tool_use.kinds, written) if tool_use.callable else None
        self._tokens: list[TokenLogprob] = []
        self._has_called = False

    def read(self, output: GenerationOutput) -> list[tuple[Event, Tokens]]:
        """Return what an output brings, each with the tokens that it is made of if it is content."""
        self._tokens += output.logprobs or ()
        if self._calls is None:
            return [(ContentGained(output.text), self._take_tokens())] if output.token_ids or output.text else []
        events = self._calls.read(output.text)
        if output.finish_reason is not None:
            events += self._calls.end()
        return [self._with_tokens(event) for event in events]

    def finish_reason(self, output: GenerationOutput) -> FinishReason | None:
        """Return why the message ended, if it did."""
        if output.finish_reason == "stop" and self._has_called:
            return "function_call" if self._tool_use.is_legacy else "tool_calls"
        return output.finish_reason

    def _with_tokens(self, event: Event) -> tuple[Event, Tokens]:
        self._has_called = self._has_called or isinstance(event, CallBegun)
        tokens = self._take_tokens()
        return event, tokens if isinstance(event, ContentGained) else ()

    def _take_tokens(self) -> Tokens:
        tokens, self._tokens = tuple(self._tokens), []
        return tokens


class MessageWriter:
    """Adds up one candidate to a whole message."""

    def __init__(self, index: int, tool_use: ToolUse, written: ToolCallFormat, *, has_logprobs: bool) -> None:
        self._index = index
        self._tool_use = tool_use
        self._reader = AnswerReader(tool_use, written)
        self._has_logprobs = has_logprobs
        self._content = ""
        self._tokens: list[TokenLogprob] = []
        self._calls: list[tuple[str, str]] = []
        self._finish_reason: FinishReason = "stop"

    def add(self, output: GenerationOutput) -> None:
        """Take in an output."""
        for event, tokens in self._reader.read(output):
            self._tokens += tokens
            match event:
                case ContentGained(text):
                    self._content += text
                case CallBegun(_, name):
                    self._calls.append((name, ""))
                case ArgumentsGained(index, text, _):
                    name, arguments = self._calls[index]
                    self._calls[index] = (name, arguments + text)
        self._finish_reason = self._reader.finish_reason(output) or self._finish_reason

    def choice(self) -> ChatCompletionChoice:
        """Return the choice."""
        return ChatCompletionChoice(
            index=self._index,
            message=self._message(),
            logprobs=_logprobs(self._tokens) if self._has_logprobs else None,
            finish_reason=self._finish_reason,
        )

    def _message(self) -> ChatCompletionResponseMessage:
        content = self._content if self._content or not self._calls else None
        message = ChatCompletionResponseMessage(role="assistant", content=content, refusal=None)
        if self._calls and self._tool_use.is_legacy:
            name, arguments = self._calls[0]
            message.function_call = CalledFunction(name=name, arguments=arguments)
        elif self._calls:
            message.tool_calls = [self._tool_call(name, arguments) for name, arguments in self._calls]
        return message

    def _tool_call(self, name: str, arguments: str) -> ResponseToolCall:
        if self._tool_use.kinds[name] == "custom":
            called = CalledCustomTool(name=name, input=_input(arguments))
            return ResponseToolCall(id=ids.tool_call_id(), type="custom", custom=called)
        function = CalledFunction(name=name, arguments=arguments)
        return ResponseToolCall(id=ids.tool_call_id(), type="function", function=function)


class DeltaWriter:
    """Writes one candidate as deltas: its role first, each name and id once, the reason it ended last."""

    def __init__(self, index: int, tool_use: ToolUse, written: ToolCallFormat, *, has_logprobs: bool) -> None:
        self._index = index
        self._tool_use = tool_use
        self._reader = AnswerReader(tool_use, written)
        self._has_logprobs = has_logprobs
        self._has_begun = False
        self._custom_arguments: dict[int, str] = {}

    def write(self, output: GenerationOutput) -> Iterable[ChatCompletionStreamChoice]:
        """Yield what an output brings."""
        events = self._reader.read(output)
        finish_reason = self._reader.finish_reason(output)
        if not self._has_begun and (events or finish_reason):
            self._has_begun = True
            is_call = bool(events) and isinstance(events[0][0], CallBegun)
            yield self._choice(ChatCompletionStreamResponseDelta(role="assistant", content=None if is_call else ""))
        for event, tokens in events:
            if delta := self._delta(event):
                yield self._choice(delta, tokens)
        if finish_reason:
            yield self._choice(ChatCompletionStreamResponseDelta(), finish_reason=finish_reason)

    def _delta(self, event: Event) -> ChatCompletionStreamResponseDelta | None:
        if isinstance(event, ContentGained):
            return ChatCompletionStreamResponseDelta(content=event.text)
        if self._tool_use.is_legacy:
            return ChatCompletionStreamResponseDelta(function_call=_function_delta(event))
        chunk = self._call_chunk(event)
        return None if chunk is None else ChatCompletionStreamResponseDelta(tool_calls=[chunk])

    def _call_chunk(self, event: CallBegun | ArgumentsGained) -> ChatCompletionMessageToolCallChunk | None:
        if isinstance(event, CallBegun):
            return self._begin_call(event)
        if event.index not in self._custom_arguments:
            return ChatCompletionMessageToolCallChunk(index=event.index, function=_function_delta(event))
        self._custom_arguments[event.index] += event.text
        if not event.is_complete:
            return None
        custom = CustomToolDelta(input=_input(self._custom_arguments[event.index]))
        return ChatCompletionMessageToolCallChunk(index=event.index, custom=custom)

    def _begin_call(self, call: CallBegun) -> ChatCompletionMessageToolCallChunk:
        call_id = ids.tool_call_id()
        if self._tool_use.kinds[call.name] == "custom":
            self._custom_arguments[call.index] = ""
            custom = CustomToolDelta(name=call.name, input="")
            return ChatCompletionMessageToolCallChunk(index=call.index, id=call_id, type="custom", custom=custom)
        function = _function_delta(call)
        return ChatCompletionMessageToolCallChunk(index=call.index, id=call_id, type="function", function=function)

    def _choice(
        self,
        delta: ChatCompletionStreamResponseDelta,
        tokens: Tokens = (),
        finish_reason: FinishReason | None = None,
    ) -> ChatCompletionStreamChoice:
        logprobs = _logprobs(tokens) if self._has_logprobs and tokens else None
        return ChatCompletionStreamChoice(
            index=self._index, delta=delta, logprobs=logprobs, finish_reason=finish_reason
        )


def _function_delta(event: CallBegun | ArgumentsGained) -> FunctionDelta:
    if isinstance(event, CallBegun):
        return FunctionDelta(name=event.name, arguments="")
    return FunctionDelta(arguments=event.text)


def _input(arguments: str) -> str:
    """Return the one argument of a custom tool; what was cut short stays as it is."""
    try:
        return str(json.loads(arguments)["input"])
    except ValueError:
        return arguments


def _logprobs(tokens: Iterable[TokenLogprob]) -> ChoiceLogprobs:
    return ChoiceLogprobs(content=[_token_logprob(token) for token in tokens], refusal=None)


def _token_logprob(token: TokenLogprob) -> ChatCompletionTokenLogprob:
    return ChatCompletionTokenLogprob(
        token=token.token,
        logprob=finite(token.logprob),
        bytes=list(token.token_bytes),
        top_logprobs=[
            TopLogprob(token=other.token, logprob=finite(other.logprob), bytes=list(other.token_bytes))
            for other in token.top_logprobs
        ],
    )
