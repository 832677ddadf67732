"""What completions for another server have beyond the reference; continuing the prompts is left to `Completions`."""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace

from openhearth.engine.base import SamplingParams, TokenLogprob
from openhearth.schemas.extended_completions import CreateExtendedCompletionRequest
from openhearth.services.generation import NumberedOutputs


def extended(params: SamplingParams, request: CreateExtendedCompletionRequest) -> SamplingParams:
    """Return `params` with what the reference has no words for."""
    grammar = None if request.structured_outputs is None else request.structured_outputs.grammar
    return replace(params, ignore_eos=request.ignore_eos, grammar=grammar)


async def with_token_ids(outputs: NumberedOutputs) -> NumberedOutputs:
    """Yield the outputs with `token_id:17` in the place of each token's surface form, which others may share."""
    async with aclosing(outputs):
        async for number, output in outputs:
            named = replace(output, logprobs=_named(output.logprobs), prompt_logprobs=_named(output.prompt_logprobs))
            yield number, named


def _named(tokens: Iterable[TokenLogprob] | None) -> tuple[TokenLogprob, ...] | None:
    if tokens is None:
        return None
    return tuple(
        replace(token, token=f"token_id:{token.token_id}", top_logprobs=_named(token.top_logprobs) or ())
        for token in tokens
    )
