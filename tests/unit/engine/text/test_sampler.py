"""Choosing tokens from logits."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhearth.engine.base import SamplingParams
from openhearth.engine.text.sampler import Logits, SamplingState, log_normalizers, sample, top_token_ids


def build_logits(*rows: list[float]) -> Logits:
    """Return rows of logits."""
    return np.array(rows, dtype=np.float32)


def draw_many(logits: Logits, params: SamplingParams, count: int = 4000) -> dict[int, float]:
    """Return how often each token was drawn from one row."""
    state = SamplingState(params)
    drawn = Counter(sample(logits, [state])[0] for _ in range(count))
    return {token_id: number / count for token_id, number in drawn.items()}


def test_greedy_rows() -> None:
    """Temperature 0 takes the largest logit of each row."""
    states = [SamplingState(SamplingParams(temperature=0))] * 2

    assert sample(build_logits([1, 5, 2], [7, 0, 1]), states) == [1, 0]


def test_frequencies_follow_the_distribution() -> None:
    """Tokens are drawn as often as the softmax of the logits over the temperature says."""
    logits = build_logits(np.log([0.5, 0.3, 0.2]).tolist())

    plain = draw_many(logits, SamplingParams(seed=1))
    hot = draw_many(logits, SamplingParams(seed=1, temperature=2.0))

    assert plain == pytest.approx({0: 0.5, 1: 0.3, 2: 0.2}, abs=0.03)
    weights = np.sqrt([0.5, 0.3, 0.2])
    assert hot == pytest.approx(dict(enumerate((weights / weights.sum()).tolist())), abs=0.03)


def test_wide_vocabulary() -> None:
    """Every token of a vocabulary larger than one block can be drawn, also the last."""
    logits = np.full((1, 1003), -50, dtype=np.float32)
    logits[0, [0, 255, 256, 1002]] = 0

    drawn = draw_many(logits, SamplingParams(seed=3))

    assert drawn == pytest.approx({0: 0.25, 255: 0.25, 256: 0.25, 1002: 0.25}, abs=0.03)


def test_nucleus() -> None:
    """`top_p` keeps the smallest set that reaches it, renormalised."""
    logits = build_logits(np.log([0.5, 0.3, 0.15, 0.05]).tolist())

    assert draw_many(logits, SamplingParams(seed=1, top_p=0.6)) == pytest.approx({0: 0.625, 1: 0.375}, abs=0.03)
    assert set(draw_many(logits, SamplingParams(seed=1, top_p=0.4))) == {0}


@given(seed=st.integers(0, 2**32), top_p=st.floats(0.01, 0.999), scale=st.floats(0.1, 20))
@settings(max_examples=60, deadline=None)
def test_nucleus_against_a_full_sort(seed: int, top_p: float, scale: float) -> None:
    """No token outside the nucleus that a full sort gives is ever drawn."""
    logits = np.random.default_rng(seed).normal(0, scale, (1, 400)).astype(np.float32)
    order = np.argsort(-logits[0], kind="stable")
    weights = np.exp(logits[0][order].astype(np.float64) - logits.max())
    nucleus = set(order[: int(np.searchsorted(np.cumsum(weights) / weights.sum(), top_p + 1e-6)) + 1].tolist())
    state = SamplingState(SamplingParams(top_p=top_p, seed=seed))

    assert {sample(logits, [state])[0] for _ in range(30)} <= nucleus


def test_seeds() -> None:
    """The same seed draws the same tokens, alone or beside others; another candidate draws others."""
    logits = np.zeros((3, 500), dtype=np.float32)
    params = SamplingParams(seed=11)

    alone = [sample(logits[:1], [state])[0] for state in [SamplingState(params)] for _ in range(8)]
    states = [SamplingState(SamplingParams(seed=5)), SamplingState(params), SamplingState(params, index=1)]
    beside = [sample(logits, states) for _ in range(8)]

    assert [row[1] for row in beside] == alone
    assert [row[2] for row in beside] != alone


def test_negative_seed() -> None:
    """Any 64-bit integer is a seed."""
    assert sample(np.zeros((1, 9), dtype=np.float32), [SamplingState(SamplingParams(seed=-1))])[0] in range(9)


def test_bias() -> None:
    """A bias is added to its token's logit; -100 bans and 100 forces."""
    banned = SamplingState(SamplingParams(temperature=0, logit_bias={1: -100}))
    forced = SamplingState(SamplingParams(temperature=1, logit_bias={2: 100}))
    logits = build_logits([1, 5, 2], [1, 5, 2])

    assert sample(logits, [banned, forced]) == [2, 2]
    assert logits.tolist() == [[1, 5, 2], [1, 5, 2]]


def test_penalties() -> None:
    """Frequency counts every occurrence, presence only the first; both count generated tokens."""
    frequency = SamplingState(SamplingParams(temperature=0, frequency_penalty=1.0))
    presence = SamplingState(SamplingParams(temperature=0, presence_penalty=1.0))
    for state in (frequency, presence):
        state.accept(0)
        state.accept(0)

    assert frequency.changed(build_logits([3, 0])[0]).tolist() == [1, 0]
    assert presence.changed(build_logits([3, 0])[0]).tolist() == [2, 0]


def test_log_normalizers() -> None:
    """Logits less their normaliser are log-probabilities, also where the logits are huge."""
    logits = build_logits([1, 2, 3], [1000, 1000, -1000])

    normalizers = log_normalizers(logits)

    assert np.exp(logits - normalizers[:, None]).sum(axis=1) == pytest.approx([1, 1])
    assert logits[1, 0] - normalizers[1] == pytest.approx(np.log(0.5))


@given(seed=st.integers(0, 2**32), size=st.integers(1, 1500), count=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_top_token_ids_against_a_full_sort(seed: int, size: int, count: int) -> None:
    """Whatever the size of the vocabulary, the tokens are those a full sort gives; of equals, the first."""
    row = np.random.default_rng(seed).integers(0, 60, size).astype(np.float32)

    assert top_token_ids(row, count) == np.argsort(-row, kind="stable")[:count].tolist()


def test_top_token_ids() -> None:
    """The likeliest tokens come first, and none are given when none are asked for."""
    assert top_token_ids(build_logits([1, 9, 3, 7])[0], 3) == [1, 3, 2]
    assert top_token_ids(build_logits([1, 9])[0], 0) == []
