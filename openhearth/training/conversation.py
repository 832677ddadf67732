"""Conversations as the model's own chat template writes them, and which stretches of the text are to be trained."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openhearth.training.rows import ChatRow, PreferenceRow, RowError

Render = Callable[..., str]
"""Writes messages as text: `render(messages, tools=…, add_generation_prompt=…)`."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages and tools in the form that chat templates take."""

    messages: list[Message]
    options: dict[str, Any]


def of_chat_row(row: ChatRow) -> Conversation:
    """Return the conversation of a row; deprecated functions become tools."""
    plain = row.model_dump(exclude_none=True)
    functions = [{"type": "function", "function": function} for function in plain.get("functions", ())]
    plain["tools"] = [*plain.get("tools", ()), *functions]
    return _conversation(plain)


def of_preference_row(row: PreferenceRow) -> tuple[Conversation, Message, Message]:
    """Return what both answers of a row follow, the preferred answer and the other."""
    plain = row.model_dump(exclude_none=True)
    preferred, other = (_message(plain[name][0]) for name in ("preferred_output", "non_preferred_output"))
    return _conversation(plain["input"]), preferred, other


def write_answer(render: Render, before: list[Message], answer: Message, options: dict[str, Any]) -> tuple[str, str]:
    """Return the text in front of an answer, as a model sees it when it is asked for one, and the text of the answer.

    Raises `RowError` if the template has no words for it.
    """
    prompt = render(before, add_generation_prompt=True, **options)
    whole = render([*before, answer], add_generation_prompt=False, **options)
    if not whole.startswith(prompt):
        raise RowError("the model's chat template does not write an answer behind the prompt for it")
    text = whole[len(prompt) :].rstrip()
    for call in answer.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            raise RowError("the model's chat template cannot write tool calls")
    return prompt, text


def write_conversation(render: Render, conversation: Conversation) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of a conversation, and where in it the answers to be trained begin and end, in characters.

    Raises `RowError` if the template writes an answer differently once another message follows.
    """
    messages, options = conversation.messages, conversation.options
    text = render(messages, add_generation_prompt=False, **options)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight") != 0:
            prompt, answer = write_answer(render, messages[:index], message, options)
            if not text.startswith(prompt + answer):
                raise RowError(
                    f"the model's chat template writes messages[{index}] differently once others follow it, so it can "
                    "only be trained as the last message of its own example"
                )
            spans.append((len(prompt), len(prompt) + len(answer)))
    return text, spans


def _conversation(plain: dict[str, Any]) -> Conversation:
    options: dict[str, Any] = {"tools": plain["tools"]} if plain.get("tools") else {}
    if "parallel_tool_calls" in plain:
        options["parallel_tool_calls"] = plain["parallel_tool_calls"]
    return Conversation([_message(message) for message in plain["messages"]], options)


def _message(message: Message) -> Message:
    """Return a message in the words of today, with plain text for content and values for arguments."""
    message = dict(message)
    content = message.get("content") or message.pop("refusal", "")
    message["content"] = content if isinstance(content, str) else "".join(part["text"] for part in content)
    if "function_call" in message:
        message["tool_calls"] = [{"type": "function", "function": message.pop("function_call")}]
    if message["role"] == "function":
        message["role"] = "tool"
    if "tool_calls" in message:
        message["tool_calls"] = [_with_arguments(call) for call in message["tool_calls"]]
    return message


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:  # what a model wrote need not be JSON; then it stands as it is
        return call
    return call | {"function": function | {"arguments": arguments}}
