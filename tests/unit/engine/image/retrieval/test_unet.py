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
        gaps=torch.randn(count, 4, CHANNELS, 4, 4),
        shades=torch.randn(count, 3, CHANNELS, 4, 4),
        covers=torch.rand(count, 2, 4, 4),
        colours=torch.randn(count, 2, WIDTH),
        background=torch.randn(count, WIDTH),
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


def picture_of(unet: RetrievalUNet, sample: torch.Tensor, sigma: float, reference: Reference | None) -> torch.Tensor:
    """Return the picture that the network expects."""
    states = torch.zeros(1, 32, WIDTH)
    flow = unet(sample, torch.tensor(1000 * sigma), states, cross_attention_kwargs={"reference": reference}).sample
    return torch.as_tensor(sample - sigma * flow)


def test_an_untrained_network_expects_the_mean_where_there_is_little_noise() -> None:
    """With unit variance the best guess is sample * (1 - s) / ((1 - s)² + s²)."""
    sample, sigma = torch.randn(1, CHANNELS, 4, 4), 0.01

    picture = picture_of(untrained(), sample, sigma, shown())

    mean = sample * (1 - sigma) / ((1 - sigma) ** 2 + sigma**2)
    assert torch.allclose(picture, mean, atol=1e-2)


def test_an_untrained_network_expects_the_canvas_on_white_where_there_is_nothing_but_noise() -> None:
    """All that the canvas lacks is filled, in all colours alike."""
    reference = shown()

    picture = picture_of(untrained(), torch.randn(1, CHANNELS, 4, 4), 1.0, reference)

    assert torch.allclose(picture, reference.codes + reference.gaps.sum(1), atol=1e-2)


def test_what_is_trusted_has_no_noise() -> None:
    """Where the network trusts what it composes, noise does not count: gaps filled with red, shades in blue."""
    unet, reference = untrained(), shown()
    bias = unet.conv_out.bias
    bias[2 * CHANNELS : 3 * CHANNELS] = 30  # trust
    bias[3 * CHANNELS : 4 * CHANNELS] = -1  # keep nothing of the canvas
    bias[4 * CHANNELS :] = torch.tensor([0.0, -1, -1, -1, 0, 0, 0.5])

    picture = picture_of(unet, torch.randn(1, CHANNELS, 4, 4), 0.2, reference)

    assert torch.allclose(picture, reference.gaps[:, 0] + 0.5 * reference.shades[:, 2], atol=1e-4)


def test_no_reference_is_an_empty_one(folder: Path) -> None:
    """Without a reference nothing is shown, which is what a cleared one shows."""
    unet = RetrievalUNet.from_pretrained(folder / "unet").eval()
    sample, states = torch.randn(1, CHANNELS, 4, 4), torch.zeros(1, 32, WIDTH)
    with torch.no_grad():
        none = unet(sample, 500.0, states, return_dict=False)[0]
        cleared = unet(sample, 500.0, states, cross_attention_kwargs={"reference": shown().nothing()}).sample
        other = unet(sample, 500.0, states, cross_attention_kwargs={"reference": shown()}).sample

    assert torch.allclose(none, cleared, atol=1e-5)
    assert not torch.allclose(none, other, atol=1e-2)


def test_references_join_to_a_batch() -> None:
    """One behind the other."""
    joined = Reference.join([shown(), shown(2)])

    assert joined.codes.shape[0] == joined.colours.shape[0] == 3
