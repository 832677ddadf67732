"""The adapters in memory: read when they are first asked for, forgotten least recently used first, or when idle."""

import asyncio
import time
from collections.abc import Callable

from openhearth.engine.base import LoRARequest
from openhearth.engine.text.lora import LoRAAdapter


class AdapterCache:
    """Reads adapters in a thread, each once; requests that are running keep theirs alive beyond the cache."""

    def __init__(
        self,
        *,
        prepare: Callable[[LoRAAdapter], None],
        max_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what has to be done before an adapter is used, and how much memory they may fill."""
        self._prepare = prepare
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._adapters: dict[str, tuple[LoRAAdapter, float]] = {}  # and when it was last used; that order
        self._lock = asyncio.Lock()

    async def get(self, request: LoRARequest) -> LoRAAdapter:
        """Return an adapter, ready to be used. Raises `ModelLoadError` if it cannot be read."""
        async with self._lock:
            known = self._adapters.pop(request.name, None)
            adapter = await asyncio.to_thread(self._load, request) if known is None else known[0]
            self._adapters[request.name] = (adapter, self._monotonic())
            self._evict()
            return adapter

    async def forget_idle(self, idle_seconds: float) -> bool:
        """Forget the adapters that nobody has asked for in so long; return whether any is left."""
        async with self._lock:
            before = self._monotonic() - idle_seconds
            self._adapters = {name: kept for name, kept in self._adapters.items() if kept[1] > before}
            return bool(self._adapters)

    def _load(self, request: LoRARequest) -> LoRAAdapter:
        adapter = LoRAAdapter.load(request.name, request.path)
        self._prepare(adapter)
        return adapter

    def _evict(self) -> None:
        """Forget the adapters used longest ago until the rest fits; the last one stays, however large."""
        while len(self._adapters) > 1 and sum(kept.num_bytes for kept, _ in self._adapters.values()) > self._max_bytes:
            del self._adapters[next(iter(self._adapters))]
