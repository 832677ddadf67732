"""What no text engine computes: prompts without tokens, tokens that the model has not, and more than it can see."""

from collections.abc import Collection, Sequence

from openhearth.engine.base import SamplingParams
from openhearth.errors import ContextLengthExceededError, InvalidValueError


def check_prompt(
    prompt_token_ids: Sequence[int], params: SamplingParams, *, vocab_size: int, max_model_len: int
) -> None:
    """Raise `InvalidValueError`, with `prompt` or `logit_bias` as its parameter, or `ContextLengthExceededError`."""
    if not prompt_token_ids:
        raise InvalidValueError("The prompt has no tokens; send at least one.", param="prompt")
    check_vocabulary(prompt_token_ids, vocab_size, param="prompt")
    check_vocabulary(params.logit_bias, vocab_size, param="logit_bias")
    num_prompt, num_new = len(prompt_token_ids), params.max_tokens
    if num_prompt + num_new > max_model_len:
        raise ContextLengthExceededError(
            f"This model's maximum context length is {max_model_len} tokens, however you requested "
            f"{num_prompt + num_new} tokens ({num_prompt} in your prompt; {num_new} for the completion). "
            "Please reduce your prompt; or completion length."
        )


def check_vocabulary(token_ids: Collection[int], vocab_size: int, *, param: str) -> None:
    """Raise `InvalidValueError`, with `param` as its parameter, for a token outside the vocabulary."""
    outside = [t for t in (min(token_ids, default=0), max(token_ids, default=0)) if not 0 <= t < vocab_size]
    if outside:
        raise InvalidValueError(
            f"Token {outside[0]} is not in the model's vocabulary of {vocab_size} tokens.", param=param
        )
