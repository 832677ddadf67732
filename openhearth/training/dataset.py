"""Training files as tokens: which of them a model is shown, and which it is trained on.

Answers are cut out of the text that the chat template writes for the whole conversation, with the words that the
engine uses too, so the tokens are those the model meets when it is served. What is too long is cut at its end.
"""

from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(slots=True)
class TrainingData:
    """Examples in the columns that the trainer of the method takes, and what there is to say about them."""

    examples: list[dict[str, list[int]]] = field(default_factory=list)
    num_tokens: int = 0
    num_cut: int = 0
    num_skipped: int = 0

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
    """Turns rows into examples of at most `max_length` tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._template = _chat_template(tokenizer)

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
        data.num_tokens += len(ids)
        data.examples.append({"input_ids": ids, "labels": labels})

    def _encode_chat(self, written: Written) -> tuple[list[int], list[int]]:
        encoded = self._tokenizer(written.text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoded["input_ids"]
        labels = [
            token_id
            if any(start <= begin and end <= stop and end > begin for start, stop in written.trained)
            else IGNORED
            for token_id, (begin, end) in zip(ids, encoded["offset_mapping"], strict=True)
        ]
        return ids, labels

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


def _chat_template(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate | None:
    """Return the template that the engine would use for the same model."""
    found = tokenizer.chat_template
    if not found:
        return None
    sources = {"default": found} if isinstance(found, str) else found
    return ChatTemplate(sources, special_tokens=tokenizer.special_tokens_map)
