"""Models in memory: a budget, those in use, and those that have to go."""

import asyncio
import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.memory import estimate_adapter_bytes, estimate_bytes
from openhearth.errors import ModelLoadError
from openhearth.services.resident_models import ResidentModels, default_model_memory_bytes


class Engine:
    """Something that takes memory."""

    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        """Free the memory."""
        self.is_closed = True


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Holder:
    """What a request has of an engine."""

    engine: Engine


class Machine:
    """Models that take ten bytes each unless told otherwise, and a clock that tests move."""

    def __init__(self, *, max_bytes: int = 20, idle_seconds: float = 0.0) -> None:
        self.now = 0.0
        self.num_loads = 0
        self.residents = ResidentModels(max_bytes=max_bytes, idle_seconds=idle_seconds, monotonic=lambda: self.now)

    @property
    def loaded(self) -> list[str]:
        """What is in memory."""
        return sorted(self.residents.engines)

    async def get(self, name: str, *, num_bytes: int = 10, load: Callable[[], Engine] | None = None) -> Holder:
        """Use a model for as long as the result lives."""
        return await self.residents.get(name, estimate=lambda: num_bytes, load=load or self._load, hold=Holder)

    def _load(self) -> Engine:
        self.num_loads += 1
        return Engine()


async def test_loaded_once() -> None:
    """Many who ask for a model at the same time get one engine."""
    machine = Machine()

    holders = await asyncio.gather(*(machine.get("a") for _ in range(5)))

    assert machine.num_loads == 1
    assert len({holder.engine for holder in holders}) == 1


async def test_least_recently_used_makes_room() -> None:
    """The model that was not used for longest is unloaded when another needs its room."""
    machine = Machine()
    for name in ("a", "b", "a"):
        last = (await machine.get(name)).engine
    unused = machine.residents.engines["b"]

    await machine.get("c")

    assert machine.loaded == ["a", "c"]
    assert isinstance(unused, Engine)
    assert unused.is_closed
    assert not last.is_closed


async def test_no_more_is_unloaded_than_needed() -> None:
    """A small model takes the place of one other."""
    machine = Machine(max_bytes=40)
    for name in ("a", "b", "c", "d"):
        await machine.get(name)

    await machine.get("e", num_bytes=5)

    assert machine.loaded == ["b", "c", "d", "e"]


async def test_models_in_use_stay() -> None:
    """A model that a request holds is not unloaded; who finds no room is told so, and nothing is lost."""
    machine = Machine()
    holder = await machine.get("a")
    await machine.get("b")

    with pytest.raises(ModelLoadError, match="in use"):
        await machine.get("c", num_bytes=15)
    kept = machine.loaded
    await machine.get("c")

    assert kept == ["a", "b"]
    assert machine.loaded == ["a", "c"]
    assert not holder.engine.is_closed


async def test_failed_requests_hold_nothing() -> None:
    """A request that failed does not keep its model in use, though its traceback goes in a circle."""
    machine = Machine(max_bytes=10)

    async def fail() -> None:
        holder = await machine.get("a")
        circle: list[object] = [holder]
        circle.append(circle)

    await fail()
    await machine.get("b")

    assert machine.loaded == ["b"]


async def test_too_large() -> None:
    """A model that could never fit is refused before anything is unloaded, with what it needs."""
    machine = Machine()
    await machine.get("a")

    with pytest.raises(ModelLoadError, match=r"21 bytes.*20 bytes"):
        await machine.get("b", num_bytes=21)

    assert machine.loaded == ["a"]


async def test_loads_at_the_same_time_share_the_budget() -> None:
    """What is being loaded counts, so that two models cannot both take the last room."""
    machine = Machine(max_bytes=10)

    results = await asyncio.gather(machine.get("a"), machine.get("b"), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["Holder", "ModelLoadError"]
    assert len(machine.loaded) == 1


async def test_failed_load_gives_its_room_back() -> None:
    """A model that cannot be loaded takes no room, and may be tried again."""
    machine = Machine(max_bytes=10)

    def fail() -> Engine:
        raise ModelLoadError("broken")

    with pytest.raises(ModelLoadError, match="broken"):
        await machine.get("a", load=fail)
    await machine.get("a")

    assert machine.loaded == ["a"]


async def test_idle_models_are_unloaded() -> None:
    """After its time without use a model goes, unless it is kept or somebody still holds it."""
    machine = Machine(max_bytes=100, idle_seconds=60)
    held = await machine.get("held")
    for name in ("idle", "default"):
        await machine.get(name)
    machine.now = 59
    await machine.residents.unload_idle(kept={"default"})
    before = machine.loaded
    await machine.get("busy")
    machine.now = 61

    await machine.residents.unload_idle(kept={"default"})

    assert before == ["default", "held", "idle"]
    assert machine.loaded == ["busy", "default", "held"]
    assert not held.engine.is_closed


async def test_idle_begins_with_the_end_of_use() -> None:
    """The time without use is counted from the end of the last request, however long that took."""
    machine = Machine(idle_seconds=60)
    held = await machine.get("a")
    machine.now = 100
    del held
    gc.collect()
    machine.now = 159

    await machine.residents.unload_idle()

    assert machine.loaded == ["a"]


async def test_extended() -> None:
    """What a model takes beyond itself is counted once, and others make room for it."""
    machine = Machine(max_bytes=30)
    holders = [await machine.get("a")]
    await machine.get("b")

    for _ in range(2):
        await machine.residents.extend("a", estimate=lambda: 15)

    assert machine.loaded == ["a"]
    holders.append(await machine.get("c", num_bytes=5))
    with pytest.raises(ModelLoadError, match="in use"):
        await machine.get("d", num_bytes=1)


async def test_no_room_to_extend() -> None:
    """A model that finds no room for more stays as it is, and so do those that are in use."""
    machine = Machine(max_bytes=30)
    await machine.get("a")
    holder = await machine.get("b")

    with pytest.raises(ModelLoadError, match="a needs about 21 bytes of memory, and the models that are in use"):
        await machine.residents.extend("a", estimate=lambda: 11)
    with pytest.raises(ModelLoadError, match="a needs about 31 bytes of memory, and models may take 30 bytes"):
        await machine.residents.extend("a", estimate=lambda: 21)
    await machine.residents.extend("unknown", estimate=lambda: 99)

    assert machine.loaded == ["a", "b"]
    assert not holder.engine.is_closed


async def test_clear() -> None:
    """In the end everything is closed, whoever holds it."""
    machine = Machine()
    holder = await machine.get("a")

    await machine.residents.clear()

    assert holder.engine.is_closed
    assert machine.loaded == []


def test_default_budget() -> None:
    """Models may take most of the memory there is, but not all of it."""
    [line] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]

    assert 0 < default_model_memory_bytes() < int(line.split()[1]) * 1024


def build_weights(folder: Path, *, is_tied: bool) -> Path:
    """Write a decoder of one matrix besides its embeddings."""
    weights = {"model.embed_tokens.weight": np.zeros((100, 64), np.float16), "up": np.zeros((64, 64), np.float16)}
    if not is_tied:
        weights["lm_head.weight"] = np.zeros((100, 64), np.float16)
    save_file(weights, folder / "model.safetensors")
    config = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("is_tied", [True, False])
def test_estimate_counts_the_head(tmp_path: Path, is_tied: bool) -> None:
    """The head has a matrix of its own, whether or not the files have one, and the cache counts in full."""
    model = build_weights(tmp_path, is_tied=is_tied)
    cached, uncached = (estimate_bytes(model, EngineConfig(dtype="f32", kv_cache_bytes=size)) for size in (2**20, 0))
    smaller = estimate_bytes(model, EngineConfig(dtype="int8", kv_cache_bytes=0))

    assert cached - uncached == 2**20
    assert uncached - smaller == pytest.approx((8.0 - 2.1) * (2 * 6400 + 4096), abs=2)


def test_estimate_of_adapters(tmp_path: Path) -> None:
    """A model that serves adapters has its layers twice, and the cache of adapters counts in full."""
    weights = {"model.embed_tokens.weight": (100, 64), "model.layers.0.mlp.up_proj.weight": (64, 64)}
    save_file({name: np.zeros(shape, np.float16) for name, shape in weights.items()}, tmp_path / "model.safetensors")

    num_bytes = estimate_adapter_bytes(tmp_path, EngineConfig(dtype="int8", lora_cache_bytes=2**20))

    assert num_bytes - 2**20 == pytest.approx(2.1 * 4096, abs=1)


def test_estimate_of_broken_weights(tmp_path: Path) -> None:
    """Weights that cannot be read are said to be so before anything makes room for them."""
    model = build_weights(tmp_path, is_tied=True)
    (model / "model.safetensors").write_bytes(b"no weights")

    with pytest.raises(ModelLoadError, match="cannot be read"):
        estimate_bytes(model, EngineConfig())
