"""The network's own part: what it is shown, and how its output becomes a flow."""

from pathlib import Path

import pytest
import torch

from openhearth.engine.image.retrieval.unet import Reference, RetrievalUNet
from tests.retrieval_model import CHANNELS, WIDTH

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of their own ways


def shown(count: int = 1) -> Reference:
    """Return a reference with something in it."""
    torch.manual_seed(2)
    return Reference(
        codes=torch.randn(count, CHANNELS, 4, 4),
        outlines=torch.randn(count, CHANNELS, 4, 4),
        covers=torch.rand(count, 2, 4, 4),
        phrases=torch.randn(count, 2, WIDTH),
    )


def untrained() -> RetrievalUNet:
    """Return a network whose last layer is as it begins: zero."""
    unet: RetrievalUNet = RetrievalUNet(
        sample_size=4,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        block_out_channels=(8,),
        cross_attention_dim=WIDTH,
        norm_num_groups=4,
    )
    unet.eval().requires_grad_(False)
    return unet


def test_an_untrained_network_expects_the_mean() -> None:
    """With unit variance the best guess is sample * (1 - s) / ((1 - s)² + s²), whose flow it returns."""
    sample, sigma = torch.randn(1, CHANNELS, 4, 4), 0.3

    flow = untrained()(sample, torch.tensor(1000 * sigma), torch.zeros(1, 32, WIDTH)).sample

    picture = sample * (1 - sigma) / ((1 - sigma) ** 2 + sigma**2)
    assert torch.allclose(flow, (sample - picture) / sigma, atol=1e-5)


def test_the_canvas_can_go_straight_into_the_picture() -> None:
    """At full noise, with an open gate, the picture that is expected is the canvas."""
    unet, reference = untrained(), shown()
    unet.conv_out.bias[CHANNELS : 2 * CHANNELS] = 1
    noise = torch.randn(1, CHANNELS, 4, 4)

    flow = unet(noise, 1000.0, torch.zeros(1, 32, WIDTH), cross_attention_kwargs={"reference": reference}).sample

    assert torch.allclose(noise - flow, reference.codes, atol=1e-4)


def test_no_reference_is_an_empty_one(folder: Path) -> None:
    """Without a reference nothing is shown, which is what a cleared one shows."""
    unet = RetrievalUNet.from_pretrained(folder / "unet").eval()
    sample, states = torch.randn(1, CHANNELS, 4, 4), torch.zeros(1, 32, WIDTH)
    with torch.no_grad():
        unet.phrase_projection.bias.zero_()
        none = unet(sample, 500.0, states, return_dict=False)[0]
        cleared = unet(sample, 500.0, states, cross_attention_kwargs={"reference": shown().nothing()}).sample
        other = unet(sample, 500.0, states, cross_attention_kwargs={"reference": shown()}).sample

    assert torch.allclose(none, cleared, atol=1e-5)
    assert not torch.allclose(none, other, atol=1e-2)


def test_references_join_to_a_batch() -> None:
    """One behind the other."""
    joined = Reference.join([shown(), shown(2)])

    assert joined.codes.shape[0] == joined.phrases.shape[0] == 3
