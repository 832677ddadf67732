"""Reading a GGUF file: its metadata as plain Python values, its tensors as numpy arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

from openhearth.errors import ModelLoadError


class GGUFFile:
    """An open GGUF file. Tensors stay on disk until they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = GGUFReader(path)
        except (OSError, ValueError, IndexError) as error:  # an IndexError is how the reader meets the end of the file
            raise ModelLoadError(f"{path} cannot be read as a GGUF file: {error}.") from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        if self.get("split.count", 1) > 1:
            raise ModelLoadError(
                f"{path} is one part of a split GGUF file; join the parts with llama-gguf-split first."
            )

    @property
    def architecture(self) -> str:
        """The family of the model in llama.cpp's words, such as `llama` or `qwen2`."""
        return str(self.require("general.architecture"))

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The names of all tensors, in the file's order."""
        return tuple(self._tensors)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a metadata value; `{arch}` in the key stands for the architecture."""
        field = self._reader.get_field(self._full(key))
        try:
            return default if field is None else field.contents()
        except UnicodeDecodeError as error:
            raise ModelLoadError(f"{self.path} has a broken value of {self._full(key)}: {error}.") from error

    def require(self, key: str) -> Any:
        """Return a metadata value. Raises `ModelLoadError` if the file does not have it."""
        value = self.get(key)
        if value is None:
            raise ModelLoadError(f"{self.path} lacks {self._full(key)}.")
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, outermost dimension first. Raises `ModelLoadError` if there is no such tensor."""
        if name not in self._tensors:
            raise ModelLoadError(f"{self.path} lacks the tensor {name}.")
        return tuple(int(extent) for extent in reversed(self._tensors[name].shape))

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a tensor in f32, whatever it is stored as. Raises `ModelLoadError` for an unknown storage type."""
        tensor = self._tensors[name]
        try:
            values: NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelLoadError(
                f"{self.path} stores {name} as {tensor.tensor_type.name}, which cannot be read."
            ) from error
        return values

    def _full(self, key: str) -> str:
        return key.replace("{arch}", self.architecture) if "{arch}" in key else key
