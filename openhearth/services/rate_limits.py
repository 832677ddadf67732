"""How much a caller may ask for in a minute, and how much of that is left (contract: conventions, sections 3 and 4).

Each limit is a token bucket (https://en.wikipedia.org/wiki/Token_bucket): it holds a minute's worth and fills evenly.
Its level is worked out whenever somebody looks, so nothing has to tick. All of this happens in the event loop's thread,
and nothing in it waits, so it needs no locks.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from openhearth.errors import RateKind, RateLimitError
from openhearth.services.api_keys import Caller

_MINUTE = 60.0
_NAMES = {
    "requests": "requests per min (RPM)",
    "tokens": "tokens per min (TPM)",
    "project-tokens": "tokens per min (TPM) of the project",
    "uploads": "uploads per min",
}

Monotonic = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitConfig:
    """What may be asked for in a minute: by each key, and by all keys of a project together. `None` is no limit."""

    requests: int | None = None
    tokens: int | None = None
    project_tokens: int | None = None
    uploads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLevel:
    """A reading: what the `limit` has left, and the seconds until all of it is there again."""

    limit: int
    remaining: int
    reset_seconds: float


class TokenBucket:
    """Holds `limit`, and gets as much in a minute. Its level may be below nothing, if more was used than foreseen."""

    def __init__(self, limit: int, *, now: Monotonic) -> None:
        self.limit = limit
        self._now = now
        self._level = float(limit)
        self._looked_at = now()

    def read(self) -> RateLevel:
        """Return what is left."""
        level = self._rise()
        return RateLevel(
            limit=self.limit, remaining=max(0, int(level)), reset_seconds=(self.limit - level) * _MINUTE / self.limit
        )

    def seconds_until(self, amount: int) -> float:
        """Return how long it takes until `amount` is there; 0 if it is."""
        return max(0.0, amount - self._rise()) * _MINUTE / self.limit

    def take(self, amount: int) -> None:
        """Take `amount` out; put it back if it is negative."""
        self._level = self._rise() - amount

    def _rise(self) -> float:
        now = self._now()
        self._level = min(self.limit, self._level + (now - self._looked_at) * self.limit / _MINUTE)
        self._looked_at = now
        return self._level


class Allowance:
    """What one request may take out of the buckets of its caller."""

    def __init__(self, buckets: Mapping[str, TokenBucket], *, organization: str) -> None:
        self._buckets = buckets
        self._organization = organization

    def levels(self) -> dict[str, RateLevel]:
        """Return what is left of each limit that there is, by the end of its headers' names."""
        return {name: bucket.read() for name, bucket in self._buckets.items()}

    def take_request(self) -> None:
        """Count the request. Raises `RateLimitError`."""
        self._take("requests", 1)

    def take_upload(self) -> None:
        """Count the request as one that brings a file. Raises `RateLimitError`."""
        self._take("uploads", 1)

    def take_tokens(self, num_tokens: int, *, model: str) -> None:
        """Count tokens. Raises `RateLimitError` if the caller or its project has fewer left."""
        self._take("tokens", num_tokens, "project-tokens", subject=f" for {model}")

    @contextmanager
    def holding(self, num_tokens: int, *, model: str, used: Callable[[], int]) -> Iterator[None]:
        """Take as many tokens as may be needed, and settle at the end what was `used`. Raises `RateLimitError`."""
        self.take_tokens(num_tokens, model=model)
        try:
            yield
        finally:
            for name in ("tokens", "project-tokens"):
                if name in self._buckets:
                    self._buckets[name].take(used() - num_tokens)

    def _take(self, name: str, amount: int, *more: str, subject: str = "") -> None:
        names = [each for each in (name, *more) if each in self._buckets]
        for each in names:
            self._check(each, amount, subject)
        for each in names:
            self._buckets[each].take(amount)

    def _check(self, name: str, amount: int, subject: str) -> None:
        bucket = self._buckets[name]
        kind: RateKind = "tokens" if name.endswith("tokens") else "requests"
        where = f"{subject} in organization {self._organization} on {_NAMES[name]}: Limit {bucket.limit}"
        if amount > bucket.limit:
            raise RateLimitError(
                f"Request too large{where}, Requested {amount}. Please ask for fewer tokens.",
                retry_after_seconds=math.inf,
                kind=kind,
            )
        if (seconds := bucket.seconds_until(amount)) > 0:
            used = bucket.limit - bucket.read().remaining
            raise RateLimitError(
                f"Rate limit reached{where}, Used {used}, Requested {amount}. Please try again in {seconds:.2f}s.",
                retry_after_seconds=seconds,
                kind=kind,
            )


UNLIMITED = Allowance({}, organization="")
"""For requests that nobody counts."""


class RateLimits:
    """Keeps the buckets of every key and every project that has asked for something."""

    def __init__(self, config: RateLimitConfig, *, organization: str, now: Monotonic = time.monotonic) -> None:
        self._config = config
        self._organization = organization
        self._now = now
        self._buckets: dict[tuple[str, str, str | None], TokenBucket] = {}

    def of_computing(self, caller: Caller) -> Allowance:
        """Return what a request for computing may take."""
        key, config = caller.api_key_id, self._config
        return self._allowance(
            caller,
            {
                "requests": (config.requests, key),
                "tokens": (config.tokens, key),
                "project-tokens": (config.project_tokens, None),
            },
        )

    def of_uploading(self, caller: Caller) -> Allowance:
        """Return what a request that brings a file may take."""
        return self._allowance(caller, {"uploads": (self._config.uploads, caller.api_key_id)})

    def _allowance(self, caller: Caller, limits: Mapping[str, tuple[int | None, str | None]]) -> Allowance:
        buckets = {
            name: self._bucket(limit, (name, caller.project, api_key_id))
            for name, (limit, api_key_id) in limits.items()
            if limit is not None
        }
        return Allowance(buckets, organization=self._organization)

    def _bucket(self, limit: int, owner: tuple[str, str, str | None]) -> TokenBucket:
        return self._buckets.setdefault(owner, TokenBucket(limit, now=self._now))
