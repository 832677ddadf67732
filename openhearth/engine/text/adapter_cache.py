"""The adapters in memory: read when they are first asked for, forgotten least recently used first, or when idle."""

import asyncio
import time
from collections import OrderedDict
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
        self._adapters: OrderedDict[str, LoRAAdapter] = OrderedDict()
        self._last_used: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def get(self, request: LoRARequest) -> LoRAAdapter:
        """Return an adapter, ready to be used. Raises `ModelLoadError` if it cannot be read."""
        async with self._lock:
            if request.name not in self._adapters:
                self._adapters[request.name] = await asyncio.to_thread(self._load, request)
                self._evict()
            self._adapters.move_to_end(request.name)
            self._last_used[request.name] = self._monotonic()
            return self._adapters[request.name]

    async def forget_idle(self, idle_seconds: float) -> bool:
        """Forget the adapters that nobody has asked for in so long; return whether any is left."""
        async with self._lock:
            before = self._monotonic() - idle_seconds
            for name in list(self._adapters):
                if self._last_used[name] <= before:
                    self._forget(name)
            return bool(self._adapters)

    def _load(self, request: LoRARequest) -> LoRAAdapter:
        adapter = LoRAAdapter.load(request.name, request.path)
        self._prepare(adapter)
        return adapter

    def _evict(self) -> None:
        """Forget the adapters used longest ago until the rest fits; the last one stays, however large."""
        while len(self._adapters) > 1 and sum(kept.num_bytes for kept in self._adapters.values()) > self._max_bytes:
            self._forget(next(iter(self._adapters)))

    def _forget(self, name: str) -> None:
        del self._adapters[name]
        self._last_used.pop(name, None)
