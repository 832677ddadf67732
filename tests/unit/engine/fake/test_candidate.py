"""What the engine without weights says, by the rules in the docstring of its model."""

import pytest

from openhearth.engine.base import SamplingParams
from openhearth.engine.fake.engine import FakeTextEngine


async def continue_greedily(prompt: str, **params: int) -> str:
    """Return the likeliest continuation."""
    engine = FakeTextEngine()
    limits = SamplingParams(temperature=0, max_tokens=params.get("max_tokens", 4))
    return "".join([output.text async for output in engine.generate(await engine.encode(prompt), limits)])


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [("abc", "defg"), ("yz", "abcd"), ("Y", "ZABC"), ("7", "89."), ("&", "éab"), ("!", "abcd"), ("", "ABCD")],
)
async def test_successors(prompt: str, continuation: str) -> None:
    """Letters follow letters, digits digits until the text ends, é an ampersand, and a anything else."""
    assert await continue_greedily(prompt) == continuation


async def test_recital() -> None:
    """What the prompt puts into angle quotes is said word for word, and then the text ends."""
    assert await continue_greedily("Say «one», no, «two – 2»! ", max_tokens=50) == "two – 2"
