"""Vectors of length 1, whole and shortened."""

import numpy as np
from numpy.typing import NDArray


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors `[n, dimensions]` with the length 1; one of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return result


def shortened(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return the first `dimensions` members of each vector, with the length 1 again."""
    return normalized(vectors[:, :dimensions])
