"""The engines that are in memory, within a budget: loaded when asked for, kept while in use, unloaded to make room.

Knows sizes and who uses what; which models there are, and how one is loaded, is for others.
"""

import asyncio
import gc
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakSet, finalize

import structlog
from rich.filesize import decimal

from openhearth.errors import ModelLoadError

logger = structlog.get_logger(__name__)

_SHARE_OF_MEMORY = 0.8
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Engine(Protocol):
    """What all kinds of engines have in common."""

    async def close(self) -> None:
        """Stop computing and free the memory."""
        ...


E = TypeVar("E", bound=Engine)
H = TypeVar("H")


@dataclass(slots=True)
class _Resident:
    """One engine in memory, and those who hold it."""

    engine: Engine
    num_bytes: int
    last_used: float
    is_extended: bool = False
    holders: WeakSet[object] = field(default_factory=WeakSet)


class ResidentModels:
    """Engines by the ids of their models, least recently used first.

    A model is in use for as long as anybody holds the object that `get` made of its engine: it needs no handing back,
    and whoever forgets it late only keeps the model for longer.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        idle_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the budget, and after how many seconds without use a model is unloaded; 0 means never."""
        self._max_bytes = max_bytes
        self._idle_seconds = idle_seconds
        self._monotonic = monotonic
        self._residents: dict[str, _Resident] = {}
        self._loading: dict[str, int] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._room = asyncio.Lock()

    @property
    def idle_seconds(self) -> float:
        """After how many seconds without use a model is unloaded; 0 means never."""
        return self._idle_seconds

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The engines in memory."""
        return {model_id: resident.engine for model_id, resident in self._residents.items()}

    async def get(
        self,
        model_id: str,
        *,
        estimate: Callable[[], int],
        load: Callable[[], E],
        hold: Callable[[E], H],
    ) -> H:
        """Return what `hold` makes of the model's engine, loading the engine first if it is not in memory.

        `estimate` says how many bytes it needs; both run in a thread. Raises `ModelLoadError` if it cannot be loaded,
        or if there is no room for it, in which case nothing is unloaded.
        """
        async with self._locks[model_id]:
            if model_id not in self._residents:
                await self._load(model_id, await asyncio.to_thread(estimate), load)
            resident = self._residents.pop(model_id)
            self._residents[model_id] = resident  # the most recently used one is last
            holder = hold(resident.engine)  # type: ignore[arg-type]
            resident.holders.add(holder)
            finalize(holder, self._touch, resident).atexit = False
            return holder

    async def extend(self, model_id: str, *, estimate: Callable[[], int]) -> None:
        """Make room for what a model in memory takes beyond itself, and count it, once.

        `estimate` says how many bytes that is, in a thread. Raises `ModelLoadError` if there is no room for it.
        """
        resident = self._residents.get(model_id)
        if resident is None or resident.is_extended:
            return
        async with self._room:
            if resident.is_extended:  # by another who waited for the room
                return
            num_bytes = await asyncio.to_thread(estimate)
            await self._make_room(model_id, num_bytes, held=resident.num_bytes)
            resident.num_bytes += num_bytes
            resident.is_extended = True

    async def unload_idle(self, *, kept: Collection[str] = ()) -> None:
        """Unload what nobody has used for long, but not what is `kept`: that only makes room for others."""
        if not self._idle_seconds:
            return
        async with self._room:
            before = self._monotonic() - self._idle_seconds
            for model_id, resident in list(self._residents.items()):
                if model_id not in kept and not resident.holders and resident.last_used <= before:
                    await self._unload(model_id)

    async def clear(self) -> None:
        """Unload everything."""
        for model_id in list(self._residents):
            await self._unload(model_id)

    async def _load(self, model_id: str, num_bytes: int, load: Callable[[], Engine]) -> None:
        async with self._room:
            await self._make_room(model_id, num_bytes)
            self._loading[model_id] = num_bytes
        try:
            engine = await asyncio.to_thread(load)
        finally:
            del self._loading[model_id]
        self._residents[model_id] = _Resident(engine, num_bytes, self._monotonic())
        logger.info("model_loaded", model=model_id, estimated_bytes=num_bytes)

    async def _make_room(self, model_id: str, num_bytes: int, *, held: int = 0) -> None:
        needed = decimal(held + num_bytes)
        if held + num_bytes > self._max_bytes:
            raise ModelLoadError(
                f"{model_id} needs about {needed} of memory, and models may take "
                f"{decimal(self._max_bytes)} in all: raise model_memory_bytes, or choose a smaller dtype, "
                "kv_cache_bytes or lora_cache_bytes."
            )
        victims, missing = [], num_bytes - self._free_bytes
        if missing > 0:
            await asyncio.to_thread(gc.collect)  # a request that failed may still be held by its own traceback
        for other_id, resident in self._residents.items():
            if missing > 0 and not resident.holders and other_id != model_id:
                victims.append(other_id)
                missing -= resident.num_bytes
        if missing > 0:
            raise ModelLoadError(
                f"{model_id} needs about {needed} of memory, and the models that are in use leave less "
                f"of the {decimal(self._max_bytes)} that models may take. Try again later, or raise model_memory_bytes."
            )
        for other_id in victims:
            await self._unload(other_id)

    @property
    def _free_bytes(self) -> int:
        taken = sum(resident.num_bytes for resident in self._residents.values()) + sum(self._loading.values())
        return self._max_bytes - taken

    async def _unload(self, model_id: str) -> None:
        resident = self._residents.pop(model_id)
        await resident.engine.close()
        del resident
        await asyncio.to_thread(gc.collect)  # graphs and callbacks refer to each other
        logger.info("model_unloaded", model=model_id)

    def _touch(self, resident: _Resident) -> None:
        resident.last_used = self._monotonic()


def default_model_memory_bytes() -> int:
    """Return the share of the machine's memory, or of the container's, that models may take."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if _CGROUP_LIMIT.is_file() and (limit := _CGROUP_LIMIT.read_text().strip()).isdecimal():
        limits.append(int(limit))
    return int(_SHARE_OF_MEMORY * min(limits))
