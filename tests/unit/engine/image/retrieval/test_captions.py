"""What texts mean, to the network."""

import pytest
import torch

from openhearth.engine.image.retrieval.captions import NUM_STATES, CaptionEncoder

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of their own ways


def test_states_end_with_the_text(encoder: CaptionEncoder) -> None:
    """Behind a text's last token there are zeros, whatever it is read together with; without words all are."""
    states = encoder.states(["a red apple", "a red apple and a blue square", " ", "a " * 90])

    assert states.shape == (4, NUM_STATES, encoder.width)
    assert torch.allclose(states[:1], encoder.states(["a red apple"]), atol=1e-5)
    assert states[0, 4].any()
    assert not states[0, 5:].any()
    assert not states[2].any()


def test_embeddings_have_length_one(encoder: CaptionEncoder) -> None:
    """And names, as they are shown to the network, numbers of about one."""
    assert torch.allclose(encoder.embeddings(["a red apple"]).norm(), torch.tensor(1.0))
    assert torch.allclose(encoder.phrases(["a red apple"]).square().mean(), torch.tensor(1.0))
    assert not encoder.phrases([""]).any()
