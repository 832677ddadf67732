"""An autoencoder whose code is fixed: the principal components of patches, with a small network that decodes them.

Patches of 16x16 pixels in red, green, blue and alpha (premultiplied, 0 to 1) become `latent_channels` numbers each,
divided by the square root of their spread, so that strong components weigh more, yet not all. The decoder adds to the
linear reconstruction what the neighbouring patches say about edges.
"""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional

_PLANES = 4
_STAGE = 4
_CLEAR = 0.04


class PatchVAE(ModelMixin, ConfigMixin):
    """Stands in for `AutoencoderKL` in pipelines of the Stable Diffusion family; its pictures have alpha.

    `block_out_channels` has one entry more than there are halvings from pixels to code, which is all that pipelines
    read from it.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 64,
        patch_size: int = 16,
        width: int = 128,
        fine_width: int = 32,
        num_layers: int = 3,
        out_channels: int = 4,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        size = _PLANES * patch_size**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(latent_channels, size))
        self.register_buffer("scale", torch.ones(latent_channels))
        step = patch_size // _STAGE
        self.coarse = nn.Sequential(
            nn.Conv2d(latent_channels, width, 3, padding=1), *(_Residual(width) for _ in range(num_layers))
        )
        self.widen = nn.Conv2d(width, fine_width * step**2, 1)
        self.fine = nn.Sequential(*(_Residual(fine_width) for _ in range(2)))
        self.last = nn.Conv2d(fine_width, _PLANES * _STAGE**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def encode(self, pixels: Any, return_dict: bool = True) -> Any:
        """Return the code [B, latent_channels, H/16, W/16] of pictures [B, 3 or 4, H, W] from -1 to 1."""
        planes = pixels / 2 + 0.5
        alpha = planes[:, 3:] if planes.shape[1] == _PLANES else torch.ones_like(planes[:, :1])
        latents = self.encode_planes(torch.cat([planes[:, :3] * alpha, alpha], 1))
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(self, latents: Any, return_dict: bool = True, generator: Any = None) -> Any:
        """Return pictures [B, 4, H, W] from -1 to 1, their colours not premultiplied; `generator` has no effect."""
        planes = self.decode_planes(latents)
        alpha = ((planes[:, 3:] - _CLEAR) / (1 - 2 * _CLEAR)).clamp(0, 1)
        colours = (planes[:, :3] / planes[:, 3:].clamp(min=_CLEAR)).clamp(0, 1) * (alpha > 0)
        pixels = torch.cat([colours, alpha], 1) * 2 - 1
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)

    def encode_planes(self, planes: Any) -> Any:
        """Return the code of premultiplied planes [B, 4, H, W] from 0 to 1."""
        start = self.basis @ self.mean / self.scale
        kernels = (self.basis / self.scale[:, None]).unflatten(1, self._patch)
        return functional.conv2d(planes, kernels, -start, stride=self.config.patch_size)

    def encode_shares(self, plane: Any) -> Any:
        """Return, as [B, 4, latent_channels, H/16, W/16], what a plane [B, 1, H, W] adds to the code in each colour.

        A code is linear in the planes: where the plane is tinted, the sum of these is added, each times the share
        of its colour: red, green, blue, alpha.
        """
        kernels = (self.basis / self.scale[:, None]).unflatten(1, self._patch).movedim(1, 0).flatten(0, 1)[:, None]
        shares = functional.conv2d(plane, kernels, stride=self.config.patch_size)
        return shares.unflatten(1, (_PLANES, -1))

    def decode_planes(self, latents: Any) -> Any:
        """Return the premultiplied planes of a code, from about 0 to about 1."""
        step = self.config.patch_size // _STAGE
        fine = self.fine(functional.pixel_shuffle(self.widen(self.coarse(latents)), step))
        return self.decode_linear(latents) + functional.pixel_shuffle(self.last(fine), _STAGE)

    def decode_linear(self, latents: Any) -> Any:
        """Return the planes that the components alone make."""
        kernels = (self.basis * self.scale[:, None]).unflatten(1, self._patch)
        mean = functional.pixel_shuffle(self.mean[:, None, None], self.config.patch_size)
        planes = functional.conv_transpose2d(latents, kernels, stride=self.config.patch_size)
        return planes + mean.repeat(1, *latents.shape[2:])

    @property
    def _patch(self) -> tuple[int, int, int]:
        return _PLANES, self.config.patch_size, self.config.patch_size

    @torch.no_grad()
    def fit(self, planes: Any) -> None:
        """Set the components to those of the patches in these planes [B, 4, H, W]."""
        patches = functional.pixel_unshuffle(planes, self.config.patch_size).movedim(1, -1).flatten(0, -2)
        self.mean.copy_(patches.mean(0))
        centred = (patches - self.mean).double()
        spread, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        count = self.config.latent_channels
        self.basis.copy_(directions.flip(1)[:, :count].T)
        deviation = spread.flip(0)[:count].clamp(min=1e-9).sqrt()
        whitened = deviation.sqrt()
        self.scale.copy_(whitened * (deviation / whitened).square().mean().sqrt())


class _Residual(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, features: Any) -> Any:
        return features + self.layers(functional.silu(features))
