"""Runs the compiled model over one batch after the other; owns the cache tensors and knows no requests."""

import itertools
import json
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from openhearth.engine.text.architectures.config import DecoderConfig
from openhearth.engine.text.architectures.decoder import DecoderBuilder
from openhearth.engine.text.architectures.weights import INT8_GROUP, Weights
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.lora import AdaptersInUse, AdapterStack, LoRAAdapter
from openhearth.engine.text.scheduler import Batch, ScheduledSequence
from openhearth.errors import ConfigurationError

_HEAD_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32"}


def _options(config: EngineConfig) -> dict[str, Any]:
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "KV_CACHE_PRECISION": config.resolved_kv_cache_dtype,
        "KEY_CACHE_QUANT_MODE": "BY_TOKEN",  # by channel, a block is quantised again with every token it gains
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": INT8_GROUP if config.dtype == "int8" else 0,
    }
    if config.dtype != "int8":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    if config.num_threads is not None:
        options["INFERENCE_NUM_THREADS"] = config.num_threads
    return options


def logit_rows(scheduled: ScheduledSequence) -> range:
    """Return which of a sequence's new tokens need logits: all to score a prompt, the last one to sample and guesses
    to judge those after them, or none."""
    if scheduled.sequence.wants_prompt_logprobs:
        return range(scheduled.num_tokens)
    first = scheduled.num_tokens - 1 - len(scheduled.draft_token_ids)
    return range(first, scheduled.num_tokens) if scheduled.is_last_chunk else range(0)


@dataclass(slots=True)
class _LoRAGraph:
    """The graph that serves adapters at some places, and those it holds."""

    places: frozenset[str]
    request: ov.InferRequest
    stack: AdapterStack


class ModelRunner:
    """One decoder with its key-value cache; a second graph, made when it is first needed, serves LoRA adapters.

    That graph has room for factors only where the adapters that were seen have any: each place costs time.
    """

    def __init__(self, model: Path, config: EngineConfig) -> None:
        """Build and compile the model in a Hugging Face directory; takes seconds.

        Raises `ModelLoadError` if it cannot be built, `ConfigurationError` if the cache is too small to be useful.
        """
        self._model = model
        self._config = config
        self.decoder = DecoderConfig.from_dict(json.loads((model / "config.json").read_text()))
        builder = DecoderBuilder(self.decoder, Weights(model), config.dtype)
        compiled = ov.Core().compile_model(builder.build(), "CPU", _options(config))
        head = ov.Core().compile_model(builder.build_head(), "CPU", _options(config) | _HEAD_OPTIONS)
        self._request = compiled.create_infer_request()
        self._head = head.create_infer_request()
        shapes = _cache_shapes(compiled)
        self.block_size: int = shapes["value_cache.0"][1][1]
        self.num_blocks = _num_blocks(config, shapes.values())
        self._caches = {name: ov.Tensor(dtype, [self.num_blocks, *shape]) for name, (dtype, shape) in shapes.items()}
        self._set_caches(self._request)
        self._lora_type: ov.Type = compiled.get_property("INFERENCE_PRECISION_HINT")
        self._lora_lock = threading.Lock()
        self._lora: _LoRAGraph | None = None
        self._adapters_in_use = AdaptersInUse(config.max_loras)

    def prepare_lora(self, places: frozenset[str]) -> None:
        """See to it that adapters can be served at these places; compiling takes seconds, and may run beside `run`."""
        with self._lora_lock:
            if self._lora is None or not places <= self._lora.places:
                self._lora = self._compile_lora(places if self._lora is None else places | self._lora.places)

    def _compile_lora(self, places: frozenset[str]) -> _LoRAGraph:
        weights, dtype = Weights(self._model), self._config.dtype
        builder = DecoderBuilder(self.decoder, weights, dtype, lora_type=self._lora_type, lora_places=places)
        request = ov.Core().compile_model(builder.build(), "CPU", _options(self._config)).create_infer_request()
        self._set_caches(request)
        return _LoRAGraph(places, request, AdapterStack(self.decoder, []))

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Compute a batch; return the wanted logits in order, shape `[rows, vocab_size]`, valid until the next call.

        A batch with adapters needs `prepare_lora` to have been called for their places before.
        """
        self._copy_blocks(batch.block_copies)
        inputs = _step_inputs(batch)
        adapters = [scheduled.sequence.adapter for scheduled in batch.scheduled]
        request = self._request
        if any(adapters):
            lora = self._lora
            assert lora is not None
            request = lora.request
            self._use_adapters(lora, dict.fromkeys(adapter for adapter in adapters if adapter is not None))
            inputs["lora_gate"] = lora.stack.gate([scheduled.num_tokens for scheduled in batch.scheduled], adapters)
        for name, values in inputs.items():
            request.set_tensor(name, ov.Tensor(values))
        request.infer(share_outputs=True)
        self._head.set_tensor("hidden", request.get_output_tensor(0))
        self._head.infer(share_outputs=True)  # otherwise all logits are copied
        logits: NDArray[np.float32] = self._head.get_output_tensor(0).data
        return logits

    def release_adapters(self) -> None:
        """Let go of all adapters that the graph holds; a batch with adapters takes those it needs. Not beside `run`."""
        if self._lora is not None:
            self._adapters_in_use = AdaptersInUse(self._config.max_loras)
            self._use_adapters(self._lora, [])

    def _use_adapters(self, lora: _LoRAGraph, needed: Collection[LoRAAdapter]) -> None:
        """Make the graph hold all `needed` adapters, and few others."""
        chosen = self._adapters_in_use.choose(needed)
        if set(chosen) == set(lora.stack.adapters):
            return
        lora.stack = AdapterStack(self.decoder, chosen)
        for layer, place in itertools.product(range(self.decoder.num_layers), lora.places):
            for name, factor in zip(("lora_a", "lora_b"), lora.stack.factors(layer, place), strict=True):
                lora.request.set_tensor(f"{name}.{layer}.{place}", _tensor(factor, self._lora_type))

    def _set_caches(self, request: ov.InferRequest) -> None:
        for name, cache in self._caches.items():
            request.set_tensor(name, cache)

    def _copy_blocks(self, copies: list[tuple[int, int]]) -> None:
        if not copies:
            return
        sources, targets = map(list, zip(*copies, strict=True))
        for cache in self._caches.values():
            cache.data[targets] = cache.data[sources]


def _tensor(values: NDArray[np.float32], dtype: ov.Type) -> ov.Tensor:
    """Copy values into a tensor of another precision.

    numpy has no bfloat16, which is the upper half of a float32, rounded to even; a tensor shows it as float16.
    """
    tensor = ov.Tensor(dtype, ov.Shape(values.shape))
    if dtype == ov.Type.bf16:
        bits = np.ascontiguousarray(values).view(np.uint32)
        tensor.data.view(np.uint16)[...] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    else:
        tensor.data[...] = values
    return tensor


def _cache_shapes(compiled: ov.CompiledModel) -> dict[str, tuple[ov.Type, list[int]]]:
    """Return type and shape of one block of each cache, as the plugin has chosen them."""
    return {
        port.get_any_name(): (
            port.get_element_type(),
            [size.get_length() for size in list(port.get_partial_shape())[1:]],
        )
        for port in compiled.inputs
        if "_cache." in port.get_any_name()
    }


def _num_blocks(config: EngineConfig, shapes: Iterable[tuple[ov.Type, list[int]]]) -> int:
    bytes_per_block: int = sum(int(np.prod(shape)) * dtype.size for dtype, shape in shapes)
    num_blocks = config.kv_cache_bytes // bytes_per_block
    if num_blocks < 2:
        raise ConfigurationError(
            f"kv_cache_bytes is {config.kv_cache_bytes}, but one block of the cache needs {bytes_per_block} bytes; "
            f"set it to {16 * bytes_per_block} or more."
        )
    return num_blocks


def _step_inputs(batch: Batch) -> dict[str, NDArray[Any]]:
    """Lay the batch out as the graph's inputs; see `architectures/decoder.py` for their shapes."""
    token_ids: list[int] = []
    positions: list[int] = []
    rows: list[int] = []
    begins, blocks, block_begins = [0], [], [0]
    for scheduled in batch.scheduled:
        rows += [len(token_ids) + row for row in logit_rows(scheduled)]
        token_ids += scheduled.token_ids
        positions += range(scheduled.start, scheduled.start + scheduled.num_tokens)
        begins.append(len(token_ids))
        blocks += scheduled.sequence.block_table
        block_begins.append(len(blocks))
    return {
        "input_ids": np.array(token_ids, dtype=np.int64),
        "position_ids": np.array(positions, dtype=np.int64),
        "past_lens": np.array([scheduled.start for scheduled in batch.scheduled], dtype=np.int32),
        "subsequence_begins": np.array(begins, dtype=np.int32),
        "block_indices": np.array(blocks, dtype=np.int32),
        "block_indices_begins": np.array(block_begins, dtype=np.int32),
        "max_context_len": np.array(
            max(scheduled.start + scheduled.num_tokens for scheduled in batch.scheduled), dtype=np.int32
        ),
        "logit_rows": np.array(rows or [0], dtype=np.int32),  # a head over no rows at all does not run
    }
