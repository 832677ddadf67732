"""What the graphs of all architectures share: inputs, masks, and layers by the names of their weights.

Shapes in comments: `B` inputs of a batch, `S` tokens of its longest, `H` the hidden size.
"""

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from openhearth.engine.text.architectures.weights import Weights

_FORBIDDEN = np.float32(np.finfo(np.float32).min)


def int64(*values: int) -> ov.Output:
    """Return a constant, i64 `[n]`."""
    return ops.constant(np.array(values, dtype=np.int64)).output(0)


def float32(value: float) -> ov.Output:
    """Return a constant scalar."""
    return ops.constant(np.float32(value)).output(0)


def _parameter(name: str, shape: list[int]) -> ov.op.Parameter:
    parameter = ops.parameter(ov.PartialShape(shape), ov.Type.i32)
    parameter.set_friendly_name(name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a graph, and what follows from them."""

    input_ids: ov.op.Parameter
    lengths: ov.op.Parameter
    positions: ov.Output
    """0 to S - 1, i32 `[S]`."""
    mask: ov.Output
    """Whether a token is one, and no padding: f32 `[B, S]`, 1 or 0."""

    @classmethod
    def create(cls) -> "Inputs":
        """Return fresh inputs."""
        input_ids, lengths = _parameter("input_ids", [-1, -1]), _parameter("lengths", [-1])
        num_tokens = ops.gather(ops.shape_of(input_ids, "i32"), int64(1), int64(0))
        end = ops.squeeze(num_tokens, int64(0))
        positions = ops.range(ops.constant(np.int32(0)), end, ops.constant(np.int32(1)), "i32")
        mask = ops.less(ops.unsqueeze(positions, int64(0)), ops.unsqueeze(lengths, int64(1)))
        return cls(input_ids, lengths, positions.output(0), ops.convert(mask, "f32").output(0))

    @property
    def parameters(self) -> list[ov.op.Parameter]:
        """The inputs, in the order of the graph."""
        return [self.input_ids, self.lengths]

    def padding_bias(self) -> ov.Output:
        """Return what is added to attention scores so that nothing looks at padding: f32 `[B, 1, 1, S]`."""
        return forbid(ops.unsqueeze(self.mask, int64(1, 2)).output(0))


def forbid(mask: ov.Output) -> ov.Output:
    """Return 0 where `mask` is 1, and a number that no score outweighs where it is 0."""
    return ops.multiply(ops.subtract(float32(1), mask), ops.constant(_FORBIDDEN)).output(0)


class Layers:
    """Layers by the names of their weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def constant(self, name: str) -> ov.Output:
        """Return a tensor as it is stored."""
        return ops.constant(self._weights[name]).output(0)

    def look_up(self, name: str, indices: ov.Output) -> ov.Output:
        """Return the rows of a table that `indices` name."""
        return ops.gather(self.constant(f"{name}.weight"), indices, int64(0)).output(0)

    def linear(self, hidden: ov.Output, name: str) -> ov.Output:
        """Project, and add the bias if there is one."""
        projected = ops.matmul(hidden, self.constant(f"{name}.weight"), False, True).output(0)
        bias = f"{name}.bias"
        return ops.add(projected, self.constant(bias)).output(0) if bias in self._weights else projected

    def layer_norm(self, hidden: ov.Output, name: str, epsilon: float) -> ov.Output:
        """Normalise over the last axis (https://arxiv.org/abs/1607.06450)."""
        normed = ops.mvn(hidden, int64(-1), True, epsilon, "inside_sqrt")
        scaled = ops.multiply(normed, self.constant(f"{name}.weight"))
        return ops.add(scaled, self.constant(f"{name}.bias")).output(0)

    def rms_norm(self, hidden: ov.Output, name: str, epsilon: float) -> ov.Output:
        """Divide by the root mean square over the last axis (https://arxiv.org/abs/1910.07467)."""
        mean = ops.reduce_mean(ops.power(hidden, float32(2)), int64(-1), True)
        root = ops.sqrt(ops.add(mean, float32(epsilon)))
        scaled = ops.multiply(hidden, ops.divide(float32(1), root))
        return ops.multiply(scaled, self.constant(f"{name}.weight")).output(0)


def split_heads(projected: ov.Output, num_heads: int, head_dim: int) -> ov.Output:
    """Turn `[B, S, num_heads * head_dim]` into `[B, num_heads, S, head_dim]`."""
    heads = ops.reshape(projected, int64(0, 0, num_heads, head_dim), True)
    return ops.transpose(heads, int64(0, 2, 1, 3)).output(0)


def merge_heads(heads: ov.Output, size: int) -> ov.Output:
    """Turn `[B, num_heads, S, head_dim]` into `[B, S, size]`."""
    return ops.reshape(ops.transpose(heads, int64(0, 2, 1, 3)), int64(0, 0, size), True).output(0)
