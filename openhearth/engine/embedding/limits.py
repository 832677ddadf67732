"""What an input has to be before a model reads it; shared by all engines."""

from collections.abc import Sequence

from openhearth.engine.base import EmbeddingSpec
from openhearth.errors import ContextLengthExceededError, InvalidValueError


def check_inputs(inputs: Sequence[Sequence[int]], spec: EmbeddingSpec) -> None:
    """Raise `BadRequestError` for the first input without tokens, with too many, or with one that does not exist."""
    for number, token_ids in enumerate(inputs):
        if not token_ids:
            raise InvalidValueError(
                f"'$.input' is invalid: input number {number} has no tokens, and at least one is needed.", param="input"
            )
        if len(token_ids) > spec.max_model_len:
            raise ContextLengthExceededError(
                f"This model's maximum context length is {spec.max_model_len} tokens, however you requested "
                f"{len(token_ids)} tokens ({len(token_ids)} in your prompt; 0 for the completion). Please reduce "
                "your prompt; or completion length.",
                param="input",
            )
        for token_id in (min(token_ids), max(token_ids)):
            if not 0 <= token_id < spec.vocab_size:
                raise InvalidValueError(
                    f"'$.input' is invalid: token {token_id} of input number {number} is not in the model's "
                    f"vocabulary of {spec.vocab_size} tokens.",
                    param="input",
                )
