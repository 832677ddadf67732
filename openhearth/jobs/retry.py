"""How often work is tried, and how long to wait in between."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`max_attempts` without progress; waits double, from `first_delay_seconds` up to `max_delay_seconds`.

    A worker may die for reasons that have nothing to do with its work, so there are more `max_losses` than attempts.
    """

    max_attempts: int = 4
    max_losses: int = 10
    first_delay_seconds: float = 1.0
    max_delay_seconds: float = 60.0

    def delay_after(self, attempts: int) -> float | None:
        """Return the seconds until the next attempt, or `None` if this was the last."""
        if attempts >= self.max_attempts:
            return None
        delay: float = self.first_delay_seconds * 2 ** (attempts - 1)
        return min(self.max_delay_seconds, delay)
