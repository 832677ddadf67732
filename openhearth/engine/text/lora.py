"""LoRA adapters as the engine takes them: read from a PEFT directory, stacked side by side for one graph.

Each decoder layer has four places to adapt, the four multiplications of its graph (`PLACES`). A place that joins
several projections gets their factors block by block, so that `delta = ((x Aᵀ) * gate) Bᵀ` adds `scaling * B A x`
(Hu et al. 2021, https://arxiv.org/abs/2106.09685) to each projection by itself.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhearth.engine.text.architectures.config import PLACES, DecoderConfig
from openhearth.engine.text.architectures.weights import Weights
from openhearth.errors import ModelLoadError

_TENSOR = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])\.weight")


def places_of(modules: Iterable[str]) -> frozenset[str]:
    """Return the places of projections given by name, with or without what comes before the last dot."""
    names = {module.strip().rpartition(".")[2] for module in modules}
    return frozenset(
        place for place, joined in PLACES.items() if names & {projection.rpartition(".")[2] for projection in joined}
    )


@dataclass(frozen=True, slots=True, eq=False)
class LoRAAdapter:
    """One adapter in memory: `a` `[rank, inputs]` and `b`, scaled, `[outputs, rank]` of each adapted projection."""

    name: str
    rank: int
    a: dict[tuple[int, str], NDArray[np.float32]]
    b: dict[tuple[int, str], NDArray[np.float32]]
    cache_salt: bytes

    @property
    def places(self) -> frozenset[str]:
        """Where it changes anything, in any layer."""
        return places_of(module for _, module in self.a)

    @property
    def num_bytes(self) -> int:
        """How much memory the factors take."""
        return sum(factor.nbytes for factors in (self.a, self.b) for factor in factors.values())

    @classmethod
    def load(cls, name: str, directory: Path) -> "LoRAAdapter":
        """Read a PEFT directory. Raises `ModelLoadError` for what it holds beyond plain LoRA on decoder layers."""
        config = _read_config(directory)
        weights = Weights(directory)
        a: dict[tuple[int, str], NDArray[np.float32]] = {}
        b: dict[tuple[int, str], NDArray[np.float32]] = {}
        for tensor in weights.names:
            match = _TENSOR.fullmatch(tensor)
            if match is None or match[2] not in {name for joined in PLACES.values() for name in joined}:
                raise ModelLoadError(f"The adapter {name} adapts {tensor}, which the text engine cannot serve.")
            projection = (int(match[1]), match[2])
            (a if match[3] == "A" else b)[projection] = weights[tensor]
        for (layer, module), factor in b.items():
            b[layer, module] = factor * _scaling(config, module, rank=factor.shape[1])
        rank = max((factor.shape[0] for factor in a.values()), default=0)
        return cls(name, rank, a, b, _content_hash(directory))


def _read_config(directory: Path) -> dict[str, Any]:
    file = directory / "adapter_config.json"
    if not file.is_file():
        raise ModelLoadError(f"{directory} has no adapter_config.json, so it is no PEFT adapter.")
    config: dict[str, Any] = json.loads(file.read_text())
    unsupported = [
        config.get("peft_type", "LORA") != "LORA",
        config.get("use_dora"),
        config.get("modules_to_save"),
        config.get("bias", "none") != "none",
        config.get("fan_in_fan_out"),
    ]
    if any(unsupported):
        raise ModelLoadError(
            f"The adapter in {directory} is not plain LoRA; the text engine serves LoRA without DoRA, biases or "
            "modules_to_save."
        )
    return config


def _scaling(config: dict[str, Any], module: str, *, rank: int) -> np.float32:
    patterns = config.get("alpha_pattern") or {}
    alpha = next((value for name, value in patterns.items() if module.endswith(name)), config.get("lora_alpha", rank))
    return np.float32(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _content_hash(directory: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(directory.glob("adapter_*")):
        digest.update(file.read_bytes())
    return digest.digest()


_STEPS_TO_KEEP = 64
"""For how many steps an adapter that none needs stays stacked: stacking costs a few steps, and so does each rank."""


class AdaptersInUse:
    """Chooses which adapters the graph holds: those that a step needs, and those of the last steps if there is room."""

    def __init__(self, max_loras: int) -> None:
        self._max_loras = max_loras
        self._step = 0
        self._last_used: dict[LoRAAdapter, int] = {}

    def choose(self, needed: Collection[LoRAAdapter]) -> list[LoRAAdapter]:
        """Return the adapters to hold in the next step; `needed` are always among them, however many they are."""
        self._step += 1
        for adapter in needed:
            self._last_used.pop(adapter, None)
            self._last_used[adapter] = self._step
        room = max(self._max_loras, len(needed))
        recent = list(self._last_used.items())[-room:]
        self._last_used = {adapter: step for adapter, step in recent if self._step - step < _STEPS_TO_KEEP}
        return list(self._last_used)


class AdapterStack:
    """The adapters that one graph serves together, their ranks one after the other."""

    def __init__(self, config: DecoderConfig, adapters: Sequence[LoRAAdapter]) -> None:
        self._sizes = config.place_sizes
        self.adapters = tuple(adapters)
        ends = np.cumsum([adapter.rank for adapter in adapters]).tolist()
        self._ranges = {
            adapter: slice(end - adapter.rank, end) for adapter, end in zip(self.adapters, ends, strict=True)
        }
        self.rank: int = ends[-1] if ends else 0

    def gate(self, row_counts: Sequence[int], adapters: Sequence[LoRAAdapter | None]) -> NDArray[np.float32]:
        """Return which ranks each row may use, shape `[rows, rank]`, given runs of rows and the adapter of each run."""
        gate = np.zeros((sum(row_counts), self.rank), dtype=np.float32)
        begin = 0
        for count, adapter in zip(row_counts, adapters, strict=True):
            if adapter is not None:
                gate[begin : begin + count, self._ranges[adapter]] = 1
            begin += count
        return gate

    def factors(self, layer: int, place: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return A `[blocks * rank, inputs]` and B `[outputs, blocks * rank]` of all adapters at one place."""
        num_inputs, outputs = self._sizes[place]
        a = np.zeros((len(outputs) * self.rank, num_inputs), dtype=np.float32)
        b = np.zeros((sum(outputs), len(outputs) * self.rank), dtype=np.float32)
        first_output = 0
        for block, (module, num_outputs) in enumerate(zip(PLACES[place], outputs, strict=True)):
            for adapter, ranks in self._ranges.items():
                if (layer, module) in adapter.a:
                    factor_a, factor_b = adapter.a[layer, module], adapter.b[layer, module]
                    begin = block * self.rank + ranks.start
                    columns = slice(begin, begin + factor_a.shape[0])
                    a[columns] = factor_a
                    b[first_output : first_output + num_outputs, columns] = factor_b
            first_output += num_outputs
        return a, b
