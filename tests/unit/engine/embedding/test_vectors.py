"""Vectors of length 1."""

import numpy as np

from openhearth.engine.embedding.vectors import normalized, shortened


def test_normalized() -> None:
    """Vectors get the length 1; one of zeros stays as it is."""
    vectors = normalized(np.array([[3, 4], [0, 0]], dtype=np.float32))

    assert np.array_equal(vectors, np.array([[0.6, 0.8], [0, 0]], dtype=np.float32))


def test_shortened() -> None:
    """A shortened vector points where the first members of the whole one do, and has the length 1 again."""
    vectors = shortened(np.array([[0.6, 0.0, 0.8], [0.3, 0.4, 0.0]], dtype=np.float32), 2)

    assert np.allclose(vectors, [[1.0, 0.0], [0.6, 0.8]])
