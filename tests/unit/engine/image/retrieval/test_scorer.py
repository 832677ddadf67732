"""The scorer."""

import torch

from openhearth.engine.image.retrieval.scorer import Scorer


def test_vectors_have_length_one() -> None:
    """One for each code, in the space of the sentence encoder."""
    scorer = Scorer(in_channels=8, width=16, out_features=12, num_layers=(1, 1))

    seen = scorer(torch.randn(3, 8, 16, 16))

    assert seen.shape == (3, 12)
    assert torch.allclose(seen.norm(dim=1), torch.ones(3))
