"""Reads safetensors without a tensor library, and turns weights into OpenVINO constants of the wanted precision."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from openhearth.engine.text.config import Dtype
from openhearth.errors import ModelLoadError

INT8_GROUP = 64
"""Columns of a matrix that share a scale; also how many activations share one when they are quantised on the fly."""

_MAX_HEADER_BYTES = 100 * 2**20
_DTYPES: dict[str, type[np.generic]] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensor table of a safetensors file and where its data begins (format: 8-byte length, then JSON)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(_MAX_HEADER_BYTES, path.stat().st_size):
            raise ModelLoadError(f"{path} is not a safetensors file.")
        table: dict[str, Any] = json.loads(file.read(length))
    table.pop("__metadata__", None)
    return table, 8 + length


@dataclass(frozen=True, slots=True)
class _StoredTensor:
    """Where a tensor lies."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


def _stored_tensors(path: Path) -> Iterator[tuple[str, _StoredTensor]]:
    table, begin = _read_header(path)
    for name, entry in table.items():
        yield name, _StoredTensor(path, entry["dtype"], tuple(entry["shape"]), begin + entry["data_offsets"][0])


class Weights:
    """The tensors of a Hugging Face directory by name, mapped from disk and converted to float32 one at a time."""

    def __init__(self, directory: Path) -> None:
        files = sorted(directory.glob("*.safetensors"))
        if not files:
            raise ModelLoadError(f"{directory} holds no safetensors weights; other formats are never loaded.")
        self._where = {name: stored for path in files for name, stored in _stored_tensors(path)}

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return sorted(self._where)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as float32; raises `ModelLoadError` if it is missing or not floating point."""
        if name not in self._where:
            raise ModelLoadError(f"The weights lack the tensor {name}.")
        stored = self._where[name]
        if stored.dtype not in _DTYPES:
            raise ModelLoadError(f"The tensor {name} has the type {stored.dtype}; F32, F16 and BF16 are supported.")
        raw: NDArray[Any] = np.memmap(stored.path, _DTYPES[stored.dtype], "r", stored.offset, stored.shape)
        if stored.dtype == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(raw, dtype=np.float32)


def matrix_constant(weight: NDArray[np.float32], dtype: Dtype) -> ov.Output:
    """Return a `[rows, columns]` matrix to multiply by, as graph nodes that end in float32.

    `int8` is symmetric with one scale for each group of columns, the finest form that costs no speed (measured).
    """
    if dtype != "int8" or weight.shape[1] % INT8_GROUP:
        return table_constant(weight, dtype)
    groups = _int8_constant(weight.reshape(weight.shape[0], -1, INT8_GROUP))
    # The conversion comes last: only in this order does the plugin see compressed weights.
    return ops.convert(ops.reshape(groups, np.array(weight.shape, dtype=np.int64), False), "f32").output(0)


def table_constant(weight: NDArray[np.float32], dtype: Dtype) -> ov.Output:
    """Return a `[rows, columns]` matrix to look rows up in, as graph nodes that end in float32."""
    match dtype:
        case "f32":
            return ops.constant(weight).output(0)
        case "f16":
            return ops.convert(ops.constant(weight.astype(np.float16)), "f32").output(0)
        case "int8":
            return ops.convert(_int8_constant(weight), "f32").output(0)


def _int8_constant(weight: NDArray[np.float32]) -> ov.Output:
    """Quantise with one scale for the last axis, and return graph nodes that end in float16."""
    scale = np.maximum(np.abs(weight).max(axis=-1, keepdims=True) / 127, 1e-7).astype(np.float16)
    quantized = np.clip(np.rint(weight / scale.astype(np.float32)), -127, 127).astype(np.int8)
    values = ops.convert(ops.constant(quantized), "f16")
    return ops.multiply(values, ops.constant(scale)).output(0)
