"""Buckets, with a clock that stands still."""

import math
from typing import Any

import pytest

from openhearth.errors import RateLimitError
from openhearth.services.api_keys import Caller
from openhearth.services.rate_limits import Allowance, RateLevel, RateLimitConfig, RateLimits, TokenBucket
from tests.storage import StoppedClock

ANNA, BERT = Caller("garden", "key_anna"), Caller("garden", "key_bert")


@pytest.fixture
def clock() -> StoppedClock:
    """Give a clock that the test moves."""
    return StoppedClock()


def allowance(clock: StoppedClock, **limits: int) -> Allowance:
    """Return what a request for computing may take."""
    return RateLimits(RateLimitConfig(**limits), organization="hearth", now=clock).of_computing(ANNA)


class TestTokenBucket:
    """One limit."""

    def test_full(self, clock: StoppedClock) -> None:
        """A new bucket holds a minute's worth."""
        assert TokenBucket(60, now=clock).read() == RateLevel(limit=60, remaining=60, reset_seconds=0.0)

    def test_fills_evenly(self, clock: StoppedClock) -> None:
        """What was taken comes back, a sixtieth each second, and never more than that."""
        bucket = TokenBucket(60, now=clock)
        bucket.take(60)

        clock.time += 15

        assert bucket.read() == RateLevel(limit=60, remaining=15, reset_seconds=45.0)
        assert bucket.seconds_until(20) == 5.0
        clock.time += 1000
        assert bucket.read().remaining == 60

    def test_debt(self, clock: StoppedClock) -> None:
        """More may be taken than is there; then it takes longer until there is something."""
        bucket = TokenBucket(60, now=clock)

        bucket.take(90)

        assert bucket.read() == RateLevel(limit=60, remaining=0, reset_seconds=90.0)
        assert bucket.seconds_until(1) == 31.0


class TestAllowance:
    """What one request takes."""

    def test_no_limits(self, clock: StoppedClock) -> None:
        """Without limits nothing is refused, and there is nothing to tell."""
        unlimited = allowance(clock)

        unlimited.take_request()
        with unlimited.holding(10**9, model="m", used=lambda: 0):
            assert unlimited.levels() == {}

    def test_requests(self, clock: StoppedClock) -> None:
        """A request too many is told when to come again."""
        limited = allowance(clock, requests=2)
        limited.take_request()
        limited.take_request()

        with pytest.raises(RateLimitError) as caught:
            limited.take_request()

        assert caught.value.message == (
            "Rate limit reached in organization hearth on requests per min (RPM): Limit 2, Used 2, Requested 1. "
            "Please try again in 30.00s."
        )
        assert (caught.value.kind, caught.value.retry_after_seconds) == ("requests", 30.0)
        clock.time += 30
        limited.take_request()

    def test_tokens(self, clock: StoppedClock) -> None:
        """Tokens are refused in the words of the reference's service."""
        limited = allowance(clock, tokens=100)
        limited.take_tokens(90, model="m")

        with pytest.raises(RateLimitError) as caught:
            limited.take_tokens(30, model="m")

        assert caught.value.message == (
            "Rate limit reached for m in organization hearth on tokens per min (TPM): Limit 100, Used 90, "
            "Requested 30. Please try again in 12.00s."
        )
        assert (caught.value.kind, caught.value.retry_after_seconds) == ("tokens", 12.0)

    def test_too_large(self, clock: StoppedClock) -> None:
        """For more than the whole limit it is no use to wait."""
        with pytest.raises(RateLimitError, match=r"Request too large for m .* Limit 100, Requested 101\.") as caught:
            allowance(clock, tokens=100).take_tokens(101, model="m")

        assert math.isinf(caught.value.retry_after_seconds)

    @pytest.mark.parametrize(("used", "remaining"), [(0, 100), (25, 75), (50, 50), (120, 0)])
    def test_settled(self, clock: StoppedClock, used: int, remaining: int) -> None:
        """While a request runs, it holds what it may need; after its end, what it has used counts."""
        limited = allowance(clock, tokens=100)

        with limited.holding(50, model="m", used=lambda: used):
            assert limited.levels()["tokens"].remaining == 50

        assert limited.levels()["tokens"].remaining == remaining

    def test_settled_after_a_failure(self, clock: StoppedClock) -> None:
        """A request that fails gives back what it did not use."""
        limited = allowance(clock, tokens=100, project_tokens=100)

        with pytest.raises(ZeroDivisionError), limited.holding(50, model="m", used=lambda: 10):
            raise ZeroDivisionError

        assert {name: level.remaining for name, level in limited.levels().items()} == {
            "tokens": 90,
            "project-tokens": 90,
        }


class TestOwners:
    """Who shares a bucket with whom."""

    @staticmethod
    def remaining(limits: RateLimits, caller: Caller) -> dict[str, int]:
        """Return what a caller has left."""
        return {name: level.remaining for name, level in limits.of_computing(caller).levels().items()}

    @pytest.fixture
    def limits(self, clock: StoppedClock) -> RateLimits:
        """Give limits of every kind."""
        config: dict[str, Any] = {"requests": 10, "tokens": 100, "project_tokens": 150, "uploads": 1}
        return RateLimits(RateLimitConfig(**config), organization="hearth", now=clock)

    def test_keys(self, limits: RateLimits) -> None:
        """Each key has limits of its own; those of the project are shared."""
        limits.of_computing(ANNA).take_request()
        limits.of_computing(ANNA).take_tokens(80, model="m")

        assert self.remaining(limits, ANNA) == {"requests": 9, "tokens": 20, "project-tokens": 70}
        assert self.remaining(limits, BERT) == {"requests": 10, "tokens": 100, "project-tokens": 70}
        with pytest.raises(RateLimitError, match="of the project: Limit 150, Used 80, Requested 90"):
            limits.of_computing(BERT).take_tokens(90, model="m")

    def test_refusal_takes_nothing(self, limits: RateLimits) -> None:
        """What the project refuses is not taken from the key either."""
        limits.of_computing(ANNA).take_tokens(100, model="m")

        with pytest.raises(RateLimitError):
            limits.of_computing(BERT).take_tokens(60, model="m")

        assert self.remaining(limits, BERT)["tokens"] == 100

    def test_other_projects(self, limits: RateLimits) -> None:
        """Callers without keys share what their project has, and nothing else."""
        limits.of_computing(Caller("garden")).take_tokens(100, model="m")

        assert self.remaining(limits, Caller("kitchen")) == {"requests": 10, "tokens": 100, "project-tokens": 150}

    def test_uploads(self, limits: RateLimits) -> None:
        """Files are counted apart from requests for computing."""
        limits.of_uploading(ANNA).take_upload()

        with pytest.raises(RateLimitError, match="on uploads per min: Limit 1, Used 1, Requested 1"):
            limits.of_uploading(ANNA).take_upload()
        assert self.remaining(limits, ANNA)["requests"] == 10
