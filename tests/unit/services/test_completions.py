"""What only shows when the engine's outputs come in an unusual order."""

from collections.abc import AsyncGenerator
from dataclasses import replace

from openhearth.engine.base import GenerationOutput, TokenLogprob
from openhearth.services.completions import scores_first

SCORES = (TokenLogprob("x", 1, b"x", None),)
BLANK = GenerationOutput(index=0, text="", token_ids=(), num_prompt_tokens=1, num_cached_tokens=0, num_output_tokens=0)


async def outputs(*items: tuple[int, int, bool]) -> AsyncGenerator[tuple[int, GenerationOutput]]:
    """Yield an output for each prompt, candidate, and whether it brings the prompt's scores."""
    for position, (number, index, has_scores) in enumerate(items):
        scores = SCORES if has_scores else None
        yield number, replace(BLANK, index=index, text=str(position), prompt_logprobs=scores)


async def test_scores_come_first() -> None:
    """Nothing of a prompt is shown before its scores are known, and then everything in its order."""
    mixed = outputs((0, 1, False), (1, 0, True), (0, 2, False), (0, 0, True), (0, 1, False), (1, 1, False))

    order = [output.text async for _, output in scores_first(mixed)]

    assert order == ["1", "3", "0", "2", "4", "5"]
