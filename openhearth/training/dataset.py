"""Training files as tokens: which of them a model is shown, and which it is trained on.

Answers are cut out of the text that the chat template writes for the whole conversation, with the words that the
engine uses too, so the tokens are those the model meets when it is served. What is too long is cut at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from openhearth.chat_template import ChatTemplate
from openhearth.errors import BadRequestError
from openhearth.training.conversation import (
    Message,
    Written,
    of_chat_row,
    of_preference_row,
    write_answer,
    write_conversation,
)
from openhearth.training.rows import (
    ChatRow,
    CompletionRow,
    PreferenceRow,
    Row,
    RowError,
    is_skipped,
    read_rows,
    shorten,
)
from openhearth.training.spec import TrainingMethod

IGNORED = -100
"""The label of a token that is shown and not trained on."""


class _Token(NamedTuple):
    """A token, and where in the text it begins and ends, in characters."""

    id: int
    begin: int
    end: int


@dataclass(slots=True)
class TrainingData:
    """Examples in the columns that the trainer of the method takes, and what there is to say about them."""

    examples: list[dict[str, list[int]]] = field(default_factory=list)
    num_tokens: int = 0
    num_cut: int = 0
    num_skipped: int = 0
    num_untrained: int = 0

    def dataset(self) -> Dataset:
        """Return the examples as a dataset."""
        return Dataset.from_list(self.examples)


@dataclass(frozen=True, slots=True)
class RunData:
    """The two files of a run."""

    training: TrainingData
    validation: TrainingData | None

    def datasets(self) -> dict[str, Dataset | None]:
        """Return the datasets by the names that trainers have for them."""
        validation = None if self.validation is None else self.validation.dataset()
        return {"train_dataset": self.training.dataset(), "eval_dataset": validation}


class Encoder:
    """Turns rows into examples of at most `max_length` tokens; `now` is the time for templates that write it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int, now: datetime | None = None) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._template = _chat_template(tokenizer, datetime.now() if now is None else now)

    def read(self, path: Path, method: TrainingMethod) -> TrainingData:
        """Read a file. Raises `RowError`, which names the line."""
        data = TrainingData()
        with path.open("rb") as lines:
            for number, row in read_rows(lines, method):
                if is_skipped(row):
                    data.num_skipped += 1
                    continue
                try:
                    self._add(row, data)
                except RowError as error:
                    raise RowError(f"Line {number}: {shorten(str(error))}.") from None
        return data

    def _add(self, row: Row, data: TrainingData) -> None:
        match row:
            case ChatRow():
                for written in write_conversation(self._render, of_chat_row(row)):
                    self._add_labelled(*self._encode_chat(written), data)
            case CompletionRow():
                self._add_labelled(*self._encode_completion(row), data)
            case PreferenceRow():
                self._add_preference(row, data)

    def _add_labelled(self, ids: list[int], labels: list[int], data: TrainingData) -> None:
        data.num_cut += len(ids) > self._max_length
        ids, labels = ids[: self._max_length], labels[: self._max_length]
        data.num_untrained += all(label == IGNORED for label in labels)
        data.num_tokens += len(ids)
        data.examples.append({"input_ids": ids, "labels": labels})

    def _encode_chat(self, written: Written) -> tuple[list[int], list[int]]:
        tokens = self._tokens(written.text, [])
        cuts = [start for start, _ in written.trained if any(token.begin < start < token.end for token in tokens)]
        if cuts:  # an answer begins within a token, but it is a token's beginning when the model is asked for it
            tokens = self._tokens(written.text, cuts)
        labels = [
            token.id if any(start <= token.begin < token.end <= stop for start, stop in written.trained) else IGNORED
            for token in tokens
        ]
        return [token.id for token in tokens], labels

    def _tokens(self, text: str, cuts: Sequence[int]) -> list[_Token]:
        """Return the tokens of a text; none of them reaches across a cut."""
        tokens: list[_Token] = []
        for begin, end in pairwise([0, *cuts, len(text)]):
            encoded = self._tokenizer(text[begin:end], add_special_tokens=False, return_offsets_mapping=True)
            for token_id, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
                tokens.append(_Token(token_id, begin + first, begin + last))
        return tokens

    def _encode_completion(self, row: CompletionRow) -> tuple[list[int], list[int]]:
        prompt = self._tokenizer(row.prompt)["input_ids"] or [self._start]
        completion = [*self._encode(row.completion), self._end]
        return [*prompt, *completion], [IGNORED] * len(prompt) + completion

    def _add_preference(self, row: PreferenceRow, data: TrainingData) -> None:
        conversation, *answers = of_preference_row(row)
        written = [write_answer(self._render, conversation.messages, answer, conversation.tools) for answer in answers]
        prompt = self._encode(written[0][0])
        chosen, rejected = (self._encode(text) for _, text in written)
        data.num_cut += len(prompt) + max(len(chosen), len(rejected)) > self._max_length
        prompt = prompt[: self._max_length - 1]
        room = self._max_length - len(prompt)
        chosen, rejected = chosen[:room], rejected[:room]
        data.num_tokens += 2 * len(prompt) + len(chosen) + len(rejected)
        data.examples.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _render(self, messages: list[Message], tools: list[Message], *, add_generation_prompt: bool) -> str:
        if self._template is None:
            raise RowError("the model has no chat template, so it can only be trained on prompts and completions")
        try:
            return self._template.render(messages, tools=tools, add_generation_prompt=add_generation_prompt)
        except BadRequestError as error:
            raise RowError(error.message.rstrip(".")) from error

    @property
    def _start(self) -> int:
        start: int | None = self._tokenizer.bos_token_id
        return self._end if start is None else start

    @property
    def _end(self) -> int:
        end: int | None = self._tokenizer.eos_token_id
        if end is None:
            raise RowError("the model has no token that ends a text")
        return end


def _chat_template(tokenizer: PreTrainedTokenizerBase, now: datetime) -> ChatTemplate | None:
    """Return the template that the engine would use for the same model, at one time for all rows."""
    found = tokenizer.chat_template
    if not found:
        return None
    sources = {"default": found} if isinstance(found, str) else found
    return ChatTemplate(sources, special_tokens=tokenizer.special_tokens_map, now=lambda: now)
