"""The limits of the image engine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEngineConfig:
    """`max_batch_pixels` bounds what is drawn at once; requests beyond `max_waiting_requests` are refused."""

    max_waiting_requests: int = 16
    max_batch_pixels: int = 4 * 2**20
    num_threads: int | None = None
    load_timeout_seconds: float = 600.0
