"""What the network is shown of a canvas."""

import torch

from openhearth.engine.image.retrieval.captions import CaptionEncoder
from openhearth.engine.image.retrieval.references import colours_of, reference
from tests.retrieval_model import WIDTH, fitted_vae


def half_red() -> torch.Tensor:
    """Return premultiplied planes of a canvas with a red left half, and nothing on its right."""
    planes = torch.zeros(1, 4, 64, 64)
    planes[:, (0, 3), :, :32] = 1
    return planes


def test_gaps_and_shades_are_shares_of_a_picture() -> None:
    """With its gaps filled with blue, the code is that of a red and blue picture; a shade can turn red to green."""
    vae, planes = fitted_vae(), half_red()
    shown = reference(vae, planes, torch.ones(1, 1, 4, 4), torch.zeros(1, 4, WIDTH), torch.zeros(1, WIDTH))

    filled = shown.codes + shown.gaps[:, 2] + shown.gaps[:, 3]
    green = shown.codes + (shown.shades[:, 1] - shown.shades[:, 0]) / 0.3

    blue = planes.clone()
    blue[:, 2:, :, 32:] = 1
    turned = planes[:, (1, 0, 2, 3)]
    assert torch.allclose(filled, vae.encode_planes(blue), atol=1e-4)
    assert torch.allclose(green, vae.encode_planes(turned), atol=1e-4)


def test_things_without_a_colour_say_nothing(encoder: CaptionEncoder) -> None:
    """Zeros for an empty word, and up to the fourth thing."""
    colours = colours_of(encoder, [["red", ""], []])

    assert colours.shape == (2, 4, WIDTH)
    assert colours[0, 0].abs().sum() > 0
    assert not colours[0, 1:].any()
    assert not colours[1].any()
