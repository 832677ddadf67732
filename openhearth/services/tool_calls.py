"""Reading the calls of tools out of a text while it is being written.

A grammar sees to it that what looks like a call is one, so nothing here can be wrong but a text that was cut short.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from openhearth.chat_template import ToolCallFormat


@dataclass(frozen=True, slots=True)
class ContentGained:
    """Text that is for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call of the tool `name`; calls are counted from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsGained:
    """A piece of the JSON object that holds the arguments; the last one `is_complete`."""

    index: int
    text: str
    is_complete: bool


Event = ContentGained | CallBegun | ArgumentsGained


def call_head(name: str, written: ToolCallFormat) -> str:
    """Return what stands between the mark that begins a call and its arguments."""
    return f'{_line_break(written)}{{"name": {json.dumps(name)}, "{written.arguments_key}": '


def call_tail(written: ToolCallFormat) -> str:
    """Return what stands between the arguments of a call and the mark that ends it."""
    return "}" + _line_break(written)


def _line_break(written: ToolCallFormat) -> str:
    return "\n" if written.begin else ""


class ToolCallReader:
    """Takes a text piece by piece and tells content from calls; white space around calls is not content."""

    def __init__(self, names: Iterable[str], written: ToolCallFormat) -> None:
        self._begin = written.begin
        self._heads = {call_head(name, written): name for name in names}
        self._tail = call_tail(written) + written.end
        self._num_calls = 0
        self._pending = ""
        self._arguments = _ObjectScanner()
        # Each state takes what it can from the pending text, and says whether there is more to do before more comes.
        self._state: Callable[[list[Event]], bool] = self._in_content if written.begin else self._in_head

    def read(self, text: str) -> list[Event]:
        """Return what this piece of text brings; what may yet become the beginning of a call is held back."""
        self._pending += text
        events: list[Event] = []
        while self._state(events):
            pass
        return events

    def end(self) -> list[Event]:
        """Return what was held back, now that no more text comes; a call without arguments never happened."""
        is_call = bool(self._begin) and self._state != self._in_content
        text = self._pending.strip() if self._num_calls else self._pending
        return [] if is_call or not text else [ContentGained(text)]

    def _in_content(self, events: list[Event]) -> bool:
        content, found, rest = self._pending.partition(self._begin)
        if found:
            shown, self._pending, self._state = content.rstrip(), rest, self._in_head
        else:
            shown = _without_beginning(content, self._begin).rstrip()
            self._pending = content[len(shown) :]
        if shown:
            events.append(ContentGained(shown))
        return bool(found)

    def _in_head(self, events: list[Event]) -> bool:
        for head, name in self._heads.items():
            if self._pending.startswith(head):
                self._pending = self._pending[len(head) :]
                self._arguments, self._state = _ObjectScanner(), self._in_arguments
                events.append(CallBegun(self._num_calls, name))
                return True
        if self._begin or any(head.startswith(self._pending) for head in self._heads):
            return False
        self._state = self._in_mere_text
        return True

    def _in_arguments(self, events: list[Event]) -> bool:
        num_taken = self._arguments.scan(self._pending)
        taken, self._pending = self._pending[:num_taken], self._pending[num_taken:]
        if taken:
            events.append(ArgumentsGained(self._num_calls, taken, self._arguments.is_complete))
        if self._arguments.is_complete:
            self._num_calls += 1
            self._state = self._in_tail
        return self._arguments.is_complete

    def _in_tail(self, _events: list[Event]) -> bool:
        if not self._pending.startswith(self._tail):
            return False
        self._pending = self._pending[len(self._tail) :]
        self._state = self._in_content if self._begin else self._in_mere_text
        return True

    def _in_mere_text(self, events: list[Event]) -> bool:
        if self._pending:
            events.append(ContentGained(self._pending))
            self._pending = ""
        return False


class _ObjectScanner:
    """Finds the end of a JSON object that arrives in pieces."""

    def __init__(self) -> None:
        self.is_complete = False
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False

    def scan(self, text: str) -> int:
        """Return how many characters of `text` belong to the object."""
        for position, character in enumerate(text):
            self._take(character)
            if self._depth == 0 and character == "}":
                self.is_complete = True
                return position + 1
        return len(text)

    def _take(self, character: str) -> None:
        if self._is_in_string:
            self._is_in_string = self._is_escaped or character != '"'
            self._is_escaped = character == "\\" and not self._is_escaped
        elif character == '"':
            self._is_in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1


def _without_beginning(text: str, mark: str) -> str:
    """Return the text without an end that may be the beginning of `mark`."""
    lengths = range(min(len(mark) - 1, len(text)), 0, -1)
    num_held = next((length for length in lengths if mark.startswith(text[-length:])), 0)
    return text[: len(text) - num_held]
