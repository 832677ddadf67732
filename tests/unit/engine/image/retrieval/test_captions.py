"""What texts mean, to the network."""

from pathlib import Path

import pytest
import torch
import transformers

from openhearth.engine.image.retrieval.captions import NUM_STATES, CaptionEncoder
from openhearth.engine.image.retrieval.references import MAX_THINGS, named

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of their own ways


def encoder_of(folder: Path) -> CaptionEncoder:
    """Return the tiny model's encoder."""
    return CaptionEncoder(
        transformers.BertModel.from_pretrained(folder / "text_encoder"),
        transformers.AutoTokenizer.from_pretrained(folder / "tokenizer"),
    )


def test_states_end_with_the_text(folder: Path) -> None:
    """Behind a text's last token there are zeros, whatever it is read together with; without words all are."""
    encoder = encoder_of(folder)

    states = encoder.states(["a red apple", "a red apple and a blue square", " ", "a " * 90])

    assert states.shape == (4, NUM_STATES, encoder.width)
    assert torch.allclose(states[:1], encoder.states(["a red apple"]), atol=1e-5)
    assert states[0, 4].any()
    assert not states[0, 5:].any()
    assert not states[2].any()


def test_embeddings_have_length_one(folder: Path) -> None:
    """And names, as they are shown to the network, numbers of about one."""
    encoder = encoder_of(folder)

    assert torch.allclose(encoder.embeddings(["a red apple"]).norm(), torch.tensor(1.0))
    assert torch.allclose(encoder.phrases(["a red apple"]).square().mean(), torch.tensor(1.0))


def test_names_fill_their_places(folder: Path) -> None:
    """A canvas with fewer things has zeros in the other places."""
    rows = named(encoder_of(folder), [["red apple", "ball"], []])

    assert rows.shape[:2] == (2, MAX_THINGS)
    assert rows[0, 1].any()
    assert not rows[0, 2:].any()
    assert not rows[1].any()
