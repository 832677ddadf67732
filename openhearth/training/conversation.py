"""Conversations as the model's own chat template writes them, and which stretches of the text are to be trained."""

from dataclasses import dataclass
from typing import Any, Protocol

from openhearth.chat_template import arguments_schema, describe_tool
from openhearth.template_messages import template_message
from openhearth.training.rows import ChatRow, PreferenceRow, RowError

Message = dict[str, Any]
_PLACE = "THE-ANSWER-STANDS-HERE"


class Render(Protocol):
    """Writes messages as text."""

    def __call__(self, messages: list[Message], tools: list[Message], *, add_generation_prompt: bool) -> str:
        """Return the text. Raises `RowError` if the template refuses."""
        ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages and tools in the form that chat templates take, and the places of the messages to be trained."""

    messages: list[Message]
    tools: list[Message]
    trained: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The text of an example, and where in it what is trained begins and ends, in characters."""

    text: str
    trained: list[tuple[int, int]]


def of_chat_row(row: ChatRow) -> Conversation:
    """Return the conversation of a row; deprecated functions become tools."""
    plain = row.model_dump(exclude_none=True)
    functions = [{"function": function} for function in plain.get("functions", ())]
    trained = tuple(
        place
        for place, message in enumerate(plain["messages"])
        if message["role"] == "assistant" and message.get("weight") != 0
    )
    return _conversation(plain | {"tools": [*plain.get("tools", ()), *functions]}, trained)


def of_preference_row(row: PreferenceRow) -> tuple[Conversation, Message, Message]:
    """Return what both answers of a row follow, the preferred answer and the other."""
    plain = row.model_dump(exclude_none=True)
    preferred, other = (template_message(plain[name][0]) for name in ("preferred_output", "non_preferred_output"))
    return _conversation(plain["input"]), preferred, other


def write_answer(render: Render, before: list[Message], answer: Message, tools: list[Message]) -> tuple[str, str]:
    """Return the text in front of an answer, as a model sees it when it is asked for one, and the text of the answer.

    Raises `RowError` if the template has no words for it.
    """
    prompt = render(before, tools, add_generation_prompt=True) if before else _beginning(render, tools)
    whole = render([*before, answer], tools, add_generation_prompt=False)
    if not whole.startswith(prompt):
        raise RowError("the model's chat template does not write an answer behind the prompt for it")
    text = whole[len(prompt) :].rstrip()
    for call in answer.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            raise RowError("the model's chat template cannot write tool calls")
    return prompt, text


def _beginning(render: Render, tools: list[Message]) -> str:
    """Return the text in front of an answer that begins a conversation; not all templates can write no message."""
    text = render([{"role": "assistant", "content": _PLACE}], tools, add_generation_prompt=False)
    if _PLACE not in text:
        raise RowError("the model's chat template cannot begin a conversation with an answer")
    return text[: text.index(_PLACE)]


def write_conversation(render: Render, conversation: Conversation) -> list[Written]:
    """Return the examples that a conversation makes: one, if its text goes on behind each answer to be trained.

    Some templates write an answer differently once others follow it, as without what the model thought. Then each
    answer is the end of an example of its own, as it is when the model is served.
    """
    messages, tools = conversation.messages, conversation.tools
    answers = [write_answer(render, messages[:place], messages[place], tools) for place in conversation.trained]
    text = render(messages, tools, add_generation_prompt=False)
    if all(text.startswith(prompt + answer) for prompt, answer in answers):
        return [Written(text, [_end(prompt, answer) for prompt, answer in answers])]
    return [Written(prompt + answer, [_end(prompt, answer)]) for prompt, answer in answers]


def _end(prompt: str, answer: str) -> tuple[int, int]:
    return len(prompt), len(prompt) + len(answer)


def _conversation(plain: dict[str, Any], trained: tuple[int, ...] = ()) -> Conversation:
    tools = [_described(tool["function"]) for tool in plain.get("tools", ())]
    return Conversation([template_message(message) for message in plain["messages"]], tools, trained)


def _described(function: dict[str, Any]) -> Message:
    """Return a tool as a model is told of it when it is served: without what only binds the server."""
    return describe_tool(function["name"], function.get("description"), arguments_schema(function.get("parameters")))
