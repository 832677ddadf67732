"""Adapters served beside their base model, against PEFT on the same weights."""

import asyncio
import json
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from openhearth.engine.base import GenerationOutput, LoRARequest, SamplingParams
from openhearth.engine.text.adapter_cache import AdapterCache
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.engine import OpenVINOTextEngine
from openhearth.engine.text.lora import AdaptersInUse, LoRAAdapter
from openhearth.engine.text.model_runner import ModelRunner
from openhearth.engine.text.scheduler import Batch, ScheduledSequence
from openhearth.engine.text.sequence import Sequence as TokenSequence
from openhearth.errors import ModelLoadError
from tests.tiny_models import VOCAB_SIZE, build_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
"""PEFT asks transformers in a way that is going away."""

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def build_adapter(model: Path, directory: Path, *, seed: int, **config: Any) -> Path:
    """Make a PEFT adapter with random factors."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ALL_LINEAR} | config
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(**settings))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(str(directory))
    return directory


def reference_logits(model: Path, adapter: Path | None, token_ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits of every position by transformers and PEFT in float32."""
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if adapter is not None:
        reference = PeftModel.from_pretrained(reference, str(adapter))
    with torch.no_grad():
        logits: NDArray[np.float32] = reference(torch.tensor([list(token_ids)])).logits[0].numpy()
    return logits


def prepare(runner: ModelRunner, *adapters: LoRAAdapter | None) -> None:
    """Get a runner ready for these adapters."""
    for adapter in adapters:
        if adapter is not None:
            runner.prepare_lora(adapter.places)


def scored(token_ids: list[int], block: int, adapter: LoRAAdapter | None) -> TokenSequence:
    """Return a sequence in one block, all of whose logits are wanted."""
    params = SamplingParams(prompt_logprobs=0)
    return TokenSequence(0, 0, token_ids, params, adapter=adapter, block_table=[block])


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_two_adapters_and_the_base_in_one_batch(tmp_path: Path, architecture: str) -> None:
    """Each sequence of a mixed batch gets the logits that PEFT gives for its adapter, or the base model's."""
    model = build_tiny_model(tmp_path / "model", architecture)
    one = build_adapter(model, tmp_path / "one", seed=1)
    two = build_adapter(model, tmp_path / "two", seed=2, r=6, use_rslora=True, target_modules=["q_proj", "v_proj"])
    runner = ModelRunner(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    token_ids = np.random.default_rng(1).integers(3, VOCAB_SIZE, 20).tolist()
    adapters = [LoRAAdapter.load("one", one), None, LoRAAdapter.load("two", two)]
    prepare(runner, *adapters)
    sequences = [scored(token_ids, block, adapter) for block, adapter in enumerate(adapters)]

    logits = runner.run(Batch([ScheduledSequence(sequence, 0, 20) for sequence in sequences])).reshape(3, 20, -1)

    for position, directory in enumerate([one, None, two]):
        assert np.abs(logits[position] - reference_logits(model, directory, token_ids)).max() < 1e-3


def test_fast_arithmetic_stays_close(tmp_path: Path) -> None:
    """With 8-bit weights, in whatever precision is fastest here, an adapter changes the logits as it should."""
    model = build_tiny_model(tmp_path / "model")
    path = build_adapter(model, tmp_path / "one", seed=1)
    runner = ModelRunner(model, EngineConfig(kv_cache_bytes=2**22))
    token_ids = np.random.default_rng(1).integers(3, VOCAB_SIZE, 20).tolist()
    adapter = LoRAAdapter.load("one", path)
    prepare(runner, adapter)

    logits = runner.run(Batch([ScheduledSequence(scored(token_ids, 0, adapter), 0, 20)]))

    expected = reference_logits(model, path, token_ids)
    assert np.abs(logits - expected).mean() < 0.1 * np.abs(expected - reference_logits(model, None, token_ids)).mean()


def test_more_adapters_than_places(tmp_path: Path) -> None:
    """Adapters that come one after the other displace each other without a trace."""
    model = build_tiny_model(tmp_path / "model")
    paths = [build_adapter(model, tmp_path / str(seed), seed=seed) for seed in range(3)]
    adapters = [LoRAAdapter.load(path.name, path) for path in paths]
    runner = ModelRunner(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22, max_loras=1))
    prepare(runner, *adapters)
    token_ids = [5, 6, 7, 8]

    for number in (0, 1, 2, 0):
        batch = Batch([ScheduledSequence(scored(token_ids, 0, adapters[number]), 0, 4)])
        assert np.abs(runner.run(batch) - reference_logits(model, paths[number], token_ids)).max() < 1e-3


def test_places_that_come_later(tmp_path: Path) -> None:
    """The graph has room where adapters have factors; one that changes more makes it grow, and the others stay."""
    model = build_tiny_model(tmp_path / "model")
    few = build_adapter(model, tmp_path / "few", seed=1, target_modules=["up_proj", "down_proj"])
    many = build_adapter(model, tmp_path / "many", seed=2)
    runner = ModelRunner(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    token_ids = [5, 6, 7, 8]
    adapters = [LoRAAdapter.load(path.name, path) for path in (few, many)]
    assert [adapter.places for adapter in adapters] == [{"gate_up", "down"}, {"qkv", "o", "gate_up", "down"}]

    for number in (0, 1, 0):
        prepare(runner, adapters[number])
        batch = Batch([ScheduledSequence(scored(token_ids, 0, adapters[number]), 0, 4)])
        expected = reference_logits(model, (few, many)[number], token_ids)
        assert np.abs(runner.run(batch) - expected).max() < 1e-3


class TestAdaptersInUse:
    """The graph holds few adapters: each costs time, whether a row uses it or not."""

    def test_room(self) -> None:
        """Beyond the room there is, those used longest ago go; what a step needs stays."""
        one, two, three = [LoRAAdapter(str(number), 4, {}, {}, b"") for number in range(3)]
        in_use = AdaptersInUse(max_loras=2)

        assert [in_use.choose(needed) for needed in ([one], [two], [one], [three])] == [
            [one],
            [one, two],
            [two, one],
            [one, three],
        ]
        assert in_use.choose([one, two, three]) == [one, two, three]

    def test_idle(self) -> None:
        """An adapter that no step has needed for a while goes, though there is room."""
        one, two = [LoRAAdapter(str(number), 4, {}, {}, b"") for number in range(2)]
        in_use = AdaptersInUse(max_loras=8)
        in_use.choose([one])

        held = [in_use.choose([two]) for _ in range(100)]

        assert held[0] == [one, two]
        assert held[-1] == [two]


def test_prefixes_of_adapters_are_apart(tmp_path: Path) -> None:
    """The blocks of the same tokens have other hashes under another adapter."""
    model = build_tiny_model(tmp_path / "model")
    adapters = [LoRAAdapter.load(str(seed), build_adapter(model, tmp_path / str(seed), seed=seed)) for seed in range(2)]
    token_ids = list(range(40))

    hashes = {tuple(scored(token_ids, 0, adapter).hashes_of_full_blocks(32, 1)) for adapter in [None, *adapters]}

    assert len(hashes) == 3


class TestRefusals:
    """Adapters that would be served wrongly are refused."""

    @pytest.mark.parametrize("change", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}])
    def test_more_than_lora(self, tmp_path: Path, change: dict[str, object]) -> None:
        """What is not plain LoRA is named."""
        adapter = build_adapter(build_tiny_model(tmp_path / "model"), tmp_path / "adapter", seed=1)
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))

        with pytest.raises(ModelLoadError, match="not plain LoRA"):
            LoRAAdapter.load("x", adapter)

    def test_other_targets(self, tmp_path: Path) -> None:
        """An adapter of anything but the projections of decoder layers is refused."""
        adapter = build_adapter(build_tiny_model(tmp_path / "model"), tmp_path / "adapter", seed=1)
        factors = {"base_model.model.lm_head.lora_A.weight": np.zeros((4, 64), dtype=np.float32)}
        save_file(factors, adapter / "adapter_model.safetensors")

        with pytest.raises(ModelLoadError, match="lm_head"):
            LoRAAdapter.load("x", adapter)

    def test_no_adapter(self, tmp_path: Path) -> None:
        """A folder without an adapter is named."""
        with pytest.raises(ModelLoadError, match=r"no adapter_config\.json"):
            LoRAAdapter.load("x", tmp_path)


@pytest.mark.parametrize("target_modules", ["up_proj, down_proj", "all-linear"])
async def test_nobody_waits_for_what_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target_modules: str
) -> None:
    """An engine that was told of an adapter's modules compiles nothing when the adapter is used."""
    model = build_tiny_model(tmp_path / "model")
    adapter = build_adapter(model, tmp_path / "few", seed=1, target_modules=["up_proj", "down_proj"])
    engine = OpenVINOTextEngine(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    params = SamplingParams(max_tokens=1)
    await engine.prepare_lora(target_modules)

    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "_compile_lora", None)
        outputs = [o async for o in engine.generate([5], params, lora=LoRARequest("few", adapter))]

    await engine.close()
    assert outputs[-1].num_output_tokens == 1


async def test_idle_adapters_are_forgotten(tmp_path: Path) -> None:
    """An adapter that nobody has asked for in a while is read again the next time; the others are kept."""
    model = build_tiny_model(tmp_path / "model")
    requests = [LoRARequest(str(seed), build_adapter(model, tmp_path / str(seed), seed=seed)) for seed in range(2)]
    now = 0.0
    cache = AdapterCache(prepare=lambda _adapter: None, max_bytes=2**30, monotonic=lambda: now)
    first, second = [await cache.get(request) for request in requests]

    now = 60.0
    assert await cache.get(requests[1]) is second
    now = 70.0
    assert await cache.forget_idle(30)
    assert await cache.get(requests[1]) is second
    assert await cache.get(requests[0]) is not first
    now = 200.0
    assert not await cache.forget_idle(30)


async def test_idle_adapters_leave_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all adapters are idle, nothing holds them any more, and one that is used again answers as before."""
    model = build_tiny_model(tmp_path / "model")
    lora = LoRARequest("a", build_adapter(model, tmp_path / "a", seed=1))
    engine = OpenVINOTextEngine(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    params = SamplingParams(max_tokens=4, temperature=0, logprobs=1)
    loaded, load, freed = [], LoRAAdapter.load, threading.Event()

    def load_and_watch(name: str, directory: Path) -> LoRAAdapter:
        adapter = load(name, directory)
        loaded.append(weakref.finalize(next(iter(adapter.a.values())), freed.set))
        return adapter

    async def generate() -> list[GenerationOutput]:
        return [output async for output in engine.generate([5, 6, 7], params, lora=lora)]

    monkeypatch.setattr(LoRAAdapter, "load", load_and_watch)
    before = await generate()
    assert not freed.is_set()
    await engine.unload_idle_loras(0)

    assert await asyncio.to_thread(freed.wait, 60)
    assert await generate() == before
    assert len(loaded) == 2
    await engine.close()


async def test_cache_forgets_the_least_recently_used(tmp_path: Path) -> None:
    """Adapters are read once, and those used longest ago make room for others."""
    model = build_tiny_model(tmp_path / "model")
    requests = [LoRARequest(str(seed), build_adapter(model, tmp_path / str(seed), seed=seed)) for seed in range(3)]
    size = LoRAAdapter.load("0", requests[0].path).num_bytes
    prepared: list[LoRAAdapter] = []
    cache = AdapterCache(prepare=prepared.append, max_bytes=2 * size)
    first, second = [await cache.get(request) for request in requests[:2]]

    again = await cache.get(requests[0])
    await cache.get(requests[2])

    assert again is first
    assert await cache.get(requests[0]) is first
    assert await cache.get(requests[1]) is not second
