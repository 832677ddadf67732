"""How a text engine is set up: limits and precisions, fixed when it is made."""

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["int8", "f16", "f32"]
KVCacheDtype = Literal["u8", "f16", "f32"]

_KV_CACHE_DTYPE: dict[Dtype, KVCacheDtype] = {"int8": "u8", "f16": "f16", "f32": "f32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Limits in tokens, sequences, bytes and seconds; `None` leaves the choice to the model or the machine.

    `dtype` is that of the weights. With `int8` the arithmetic is also the fastest the processor has; with `f16` and
    `f32` it is 32-bit throughout, and `f32` reproduces the reference implementation.
    """

    dtype: Dtype = "int8"
    kv_cache_dtype: KVCacheDtype | None = None
    kv_cache_bytes: int = 512 * 2**20
    max_model_len: int | None = None
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 512
    max_waiting_requests: int = 256
    max_waiting_tokens: int = 1_000_000
    enable_prefix_caching: bool = True
    num_speculative_tokens: int = 4
    max_loras: int = 8
    lora_cache_bytes: int = 512 * 2**20
    num_threads: int | None = None

    @property
    def resolved_kv_cache_dtype(self) -> KVCacheDtype:
        """The precision of the cache: as asked for, or the one that goes with the weights."""
        return self.kv_cache_dtype or _KV_CACHE_DTYPE[self.dtype]
