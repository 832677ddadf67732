"""The messages of a chat, from the wire's many forms to the one that chat templates take."""

import json
from collections.abc import Sequence
from typing import Any

from openhearth.errors import BadRequestError, InvalidValueError, UnsupportedParameterError
from openhearth.schemas.chat_messages import (
    ChatCompletionMessageToolCall,
    ChatCompletionRequestAssistantMessage,
    ChatCompletionRequestFunctionMessage,
    ChatCompletionRequestMessage,
    ChatCompletionRequestMessageContentPartRefusal,
    ChatCompletionRequestMessageContentPartText,
    ChatCompletionRequestToolMessage,
    ToolCall,
)

_FUNCTION_CALL_ID = "function_call"
"""What stands for the id of a call in the older form, which had none."""


def read_messages(messages: Sequence[ChatCompletionRequestMessage]) -> list[dict[str, Any]]:
    """Return the messages as chat templates take them: content as text, arguments as objects, calls in one form.

    Raises `BadRequestError` for content that is no text, and for calls that no message answers.
    """
    check_tool_calls(messages)
    return [_read(message, f"messages[{position}]") for position, message in enumerate(messages)]


def check_tool_calls(messages: Sequence[ChatCompletionRequestMessage]) -> None:
    """Raise `BadRequestError` unless every call of a tool is answered next, and every answer belongs to a call."""
    open_ids: set[str] = set()
    for position, message in enumerate(messages):
        if isinstance(message, ChatCompletionRequestToolMessage):
            if message.tool_call_id not in open_ids:
                raise InvalidValueError(
                    "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'; there is "
                    f"none with the id '{message.tool_call_id}'.",
                    param=f"messages[{position}].tool_call_id",
                )
            open_ids.remove(message.tool_call_id)
            continue
        _check_answered(open_ids, f"messages[{position}].role")
        if isinstance(message, ChatCompletionRequestAssistantMessage):
            open_ids = {call.id for call in message.tool_calls}
    _check_answered(open_ids, "messages")


def _check_answered(open_ids: set[str], param: str) -> None:
    if open_ids:
        raise InvalidValueError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(sorted(open_ids))}",
            param=param,
        )


def _read(message: ChatCompletionRequestMessage, path: str) -> dict[str, Any]:
    if isinstance(message, ChatCompletionRequestAssistantMessage):
        return _read_assistant(message, path)
    if isinstance(message, ChatCompletionRequestToolMessage):
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": _text(message.content, path)}
    if isinstance(message, ChatCompletionRequestFunctionMessage):
        content = message.content or ""
        return {"role": "tool", "tool_call_id": _FUNCTION_CALL_ID, "name": message.name, "content": content}
    role = "user" if message.role == "user" else "system"
    return _named(message.name, {"role": role, "content": _text(message.content, path)})


def _read_assistant(message: ChatCompletionRequestAssistantMessage, path: str) -> dict[str, Any]:
    if message.audio is not None:
        raise UnsupportedParameterError("Spoken answers are not kept by this server.", param=f"{path}.audio")
    calls = [_read_tool_call(call) for call in message.tool_calls]
    if message.function_call is not None:
        called = message.function_call
        calls.append(_tool_call(_FUNCTION_CALL_ID, called.name, _arguments(called.arguments)))
    content = message.refusal if message.content is None else message.content
    if content is None and not calls:
        raise BadRequestError(
            f"Invalid type for '{path}.content': expected a string, but got null instead.",
            param=f"{path}.content",
            code="invalid_type",
        )
    read = _named(message.name, {"role": "assistant", "content": _text(content or "", path)})
    return read | {"tool_calls": calls} if calls else read


def _named(name: str | None, message: dict[str, Any]) -> dict[str, Any]:
    return message if name is None else message | {"name": name}


def _text(content: str | Sequence[Any], path: str) -> str:
    if isinstance(content, str):
        return content
    return "".join(_part(part, f"{path}.content[{position}]") for position, part in enumerate(content))


def _part(part: Any, path: str) -> str:
    if isinstance(part, ChatCompletionRequestMessageContentPartText):
        return part.text
    if isinstance(part, ChatCompletionRequestMessageContentPartRefusal):
        return part.refusal
    raise InvalidValueError(
        f"Invalid content type. '{part.type}' is only supported by certain models; this one reads text.",
        param=f"{path}.type",
    )


def _read_tool_call(call: ToolCall) -> dict[str, Any]:
    if isinstance(call, ChatCompletionMessageToolCall):
        return _tool_call(call.id, call.function.name, _arguments(call.function.arguments))
    return _tool_call(call.id, call.custom.name, {"input": call.custom.input})


def _tool_call(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _arguments(arguments: str) -> Any:
    """Return arguments as an object; what a model wrote that is no JSON stays the text it is."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
