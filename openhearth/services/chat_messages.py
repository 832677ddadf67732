"""The messages of a chat: whether they can be answered by a model that reads text, and in the order they are in."""

from collections.abc import Sequence
from typing import Any

from openhearth.errors import BadRequestError, InvalidValueError, UnsupportedParameterError
from openhearth.schemas.chat_messages import (
    ChatCompletionRequestAssistantMessage,
    ChatCompletionRequestMessage,
    ChatCompletionRequestToolMessage,
    ChatCompletionRequestUserMessage,
)
from openhearth.template_messages import template_message


def read_messages(messages: Sequence[ChatCompletionRequestMessage]) -> list[dict[str, Any]]:
    """Return the messages as chat templates take them: content as text, arguments as objects, calls in one form.

    Raises `BadRequestError` for content that is no text, and for calls that no message answers.
    """
    check_tool_calls(messages)
    for position, message in enumerate(messages):
        _check_content(message, f"messages[{position}]")
    return [template_message(message.model_dump(exclude_none=True)) for message in messages]


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


def _check_content(message: ChatCompletionRequestMessage, path: str) -> None:
    if isinstance(message, ChatCompletionRequestAssistantMessage):
        _check_assistant(message, path)
    elif isinstance(message, ChatCompletionRequestUserMessage) and not isinstance(message.content, str):
        for position, part in enumerate(message.content):
            if part.type != "text":
                raise InvalidValueError(
                    f"Invalid content type. '{part.type}' is only supported by certain models; this one reads text.",
                    param=f"{path}.content[{position}].type",
                )


def _check_assistant(message: ChatCompletionRequestAssistantMessage, path: str) -> None:
    if message.audio is not None:
        raise UnsupportedParameterError("Spoken answers are not kept by this server.", param=f"{path}.audio")
    says_something = message.content is not None or message.refusal is not None
    if not says_something and not message.tool_calls and message.function_call is None:
        raise BadRequestError(
            f"Invalid type for '{path}.content': expected a string, but got null instead.",
            param=f"{path}.content",
            code="invalid_type",
        )
