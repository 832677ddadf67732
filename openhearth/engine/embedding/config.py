"""How an embedding engine is set up: limits and precision, fixed when it is made."""

from dataclasses import dataclass
from typing import Literal

EmbeddingDtype = Literal["bf16", "f32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingConfig:
    """Limits in tokens and requests; `None` leaves the choice to the model or the machine.

    `dtype` is that of the arithmetic: `bf16` is used where the processor has it and is 32-bit elsewhere; `f32`
    reproduces the reference implementation. `max_batch_tokens` bounds one call of the model, padding included;
    an input longer than that is computed alone.
    """

    dtype: EmbeddingDtype = "bf16"
    max_batch_tokens: int = 1024
    max_concurrent_requests: int = 512
    max_waiting_tokens: int = 1_000_000
    num_threads: int | None = None
