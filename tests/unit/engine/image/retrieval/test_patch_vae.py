"""The autoencoder of patches."""

import torch
from torch.nn import functional

from tests.retrieval_model import CHANNELS, fitted_vae


def smooth(count: int) -> torch.Tensor:
    """Return pictures like those that the components were fitted to."""
    return functional.interpolate(torch.rand(count, 4, 6, 6), size=(64, 64), mode="bilinear")


def test_the_components_bring_smooth_pictures_back() -> None:
    """What varies little within a patch survives the code."""
    torch.manual_seed(1)
    vae, planes = fitted_vae(), smooth(4)

    codes = vae.encode_planes(planes)

    assert codes.shape == (4, CHANNELS, 4, 4)
    assert functional.mse_loss(vae.decode_linear(codes), planes) < 0.1 * planes.var()


def test_the_code_has_unit_spread() -> None:
    """Over all numbers of the code, the mean square is about one: noise of flow matching is as strong."""
    vae = fitted_vae()

    assert 0.7 < vae.encode_planes(smooth(16)).square().mean() < 1.3


def test_an_untrained_decoder_adds_nothing() -> None:
    """It begins as the linear reconstruction."""
    vae = fitted_vae()
    codes = vae.encode_planes(smooth(2))

    assert torch.equal(vae.decode_planes(codes), vae.decode_linear(codes))


def test_pictures_without_alpha_are_opaque() -> None:
    """Three channels come back as four, the last of them one, and colours come back as they were."""
    vae = fitted_vae()
    pixels = torch.full((1, 3, 64, 64), 0.5)

    decoded = vae.decode(vae.encode(pixels).latents).sample
    as_tuple = vae.decode(vae.encode(pixels, return_dict=False)[0], return_dict=False)[0]

    assert decoded.shape == (1, 4, 64, 64)
    assert torch.equal(decoded, as_tuple)
    assert decoded.abs().max() <= 1


def test_colours_are_not_premultiplied_outside() -> None:
    """Half-transparent red is red, at half alpha."""
    vae = fitted_vae()
    pixels = torch.tensor([1.0, -1.0, -1.0, 0.0]).reshape(1, 4, 1, 1).expand(1, 4, 16, 16)
    planes = torch.tensor([0.5, 0.0, 0.0, 0.5]).reshape(1, 4, 1, 1).expand(1, 4, 16, 16)

    assert torch.allclose(vae.encode(pixels).latents, vae.encode_planes(planes), atol=1e-5)
