"""How many tokens the examples of a file have, as a model's own tokenizer and chat template write them."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from transformers import AutoConfig, AutoTokenizer

from openhearth.training.dataset import Encoder
from openhearth.training.spec import TrainingMethod


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """Tokens of one pass over a file; an example of a preference file counts with both its answers."""

    total: int
    median: int
    longest: int
    num_cut: int
    max_length: int


def count_tokens(
    file: Path, method: TrainingMethod, base_model: Path, *, max_length: int | None = None
) -> TokenStatistics:
    """Count the tokens of a file as they would be trained, cut at `max_length` or at the model's context.

    Raises `RowError` for a row that the model's template cannot write.
    """
    context: int = AutoConfig.from_pretrained(base_model).max_position_embeddings
    limit = min(context, max_length or context)
    data = Encoder(AutoTokenizer.from_pretrained(base_model), max_length=limit).read(file, method)
    lengths = [sum(map(len, example.values())) for example in data.examples]
    if method == "supervised":  # input ids and labels are of the same tokens
        lengths = [length // 2 for length in lengths]
    return TokenStatistics(data.num_tokens, int(median(lengths)), max(lengths), data.num_cut, limit)
