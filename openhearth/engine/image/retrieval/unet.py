"""The network that denoises: stock U-Net, which is shown a canvas of sprites and told what each of them is called."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import nn

__all__ = ["ModelMixin", "Reference", "RetrievalUNet"]  # diffusers looks the base class up here

_NUM_TIMESTEPS = 1000
_NUM_GAPS, _NUM_SHADES = 4, 3
_NUM_TINTS = _NUM_GAPS + _NUM_SHADES


@dataclass(frozen=True, slots=True)
class Reference:
    """What the network is shown, for a batch of B canvases with up to N things each, in the code of the autoencoder.

    `codes` [B, C, H, W] is the canvas. `gaps` [B, 4, C, H, W] is what it lacks to be full, in red, green, blue and
    alpha, so that a background of one colour is a sum of these; `shades` [B, 3, C, H, W] is the light and dark of what
    lies on it, in red, green and blue. `covers` [B, N, H, W] says how far each thing covers each position, `colours`
    [B, N, D] are the embeddings of the colours asked for, zeros for a thing's own, and `background` [B, D] that of
    what is said of the background, zeros if nothing is.
    """

    codes: Any
    gaps: Any
    shades: Any
    covers: Any
    colours: Any
    background: Any

    @classmethod
    def join(cls, parts: "list[Reference]") -> "Reference":
        """Return one batch out of several."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def nothing(self) -> "Reference":
        """Return a batch of the same shape that shows nothing."""
        return Reference(*(torch.zeros_like(getattr(self, name)) for name in self.__slots__))


class RetrievalUNet(UNet2DConditionModel):
    """Predicts the flow (noise minus picture) of a noisy code, given text and a `Reference`.

    The reference arrives as `cross_attention_kwargs["reference"]`, the way through every stock pipeline; without one
    nothing is shown. Inside, the network guesses the picture twice. One guess starts from what is shown: how much of
    the canvas to keep, how to tint its shades, what to fill its gaps with, and what to add. The other starts from the
    noisy code, preconditioned as by Karras et al. 2022 (table 1, for the straight path of flow matching and data of
    unit variance). For each number of the code it says which guess to trust; at first that is the latter when there is
    little noise. What is copied thus has no noise left in it.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 16,
        in_channels: int = 64,
        out_channels: int = 64,
        phrase_channels: int = 32,
        down_block_types: tuple[str, ...] = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types: tuple[str, ...] = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels: tuple[int, ...] = (64, 128, 256),
        layers_per_block: int = 1,
        attention_head_dim: int = 4,
        cross_attention_dim: int = 384,
        addition_embed_type_num_heads: int = 6,
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            attention_head_dim=attention_head_dim,
            cross_attention_dim=cross_attention_dim,
            addition_embed_type="text",
            addition_embed_type_num_heads=addition_embed_type_num_heads,
            resnet_time_scale_shift="scale_shift",
            norm_num_groups=norm_num_groups,
        )
        self.colour_projection = nn.Linear(cross_attention_dim, phrase_channels, bias=False)
        self.background_projection = nn.Linear(cross_attention_dim, phrase_channels, bias=False)
        self.conv_in = nn.Conv2d(4 * in_channels + phrase_channels + 1, block_out_channels[0], 3, padding=1)
        self.conv_out = nn.Conv2d(block_out_channels[0], 4 * out_channels + _NUM_TINTS, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(  # type: ignore[no-untyped-def]
        self, sample, timestep, encoder_hidden_states, cross_attention_kwargs=None, return_dict=True, **kwargs
    ) -> Any:
        """See `UNet2DConditionModel.forward`."""
        others = dict(cross_attention_kwargs or {})
        reference = others.pop("reference", None)
        sigma = torch.as_tensor(timestep, dtype=sample.dtype, device=sample.device).reshape(-1, 1, 1, 1)
        sigma = sigma / _NUM_TIMESTEPS
        spread = ((1 - sigma) ** 2 + sigma**2).sqrt()
        output = (
            super()
            .forward(
                torch.cat([sample / spread, self._shown(reference, sample)], 1),
                timestep,
                encoder_hidden_states,
                cross_attention_kwargs=others or None,
                return_dict=False,
                **kwargs,
            )[0]
            .to(sample.dtype)
        )
        added, rest, trust, keep, tints = output.split([sample.shape[1]] * 4 + [_NUM_TINTS], 1)
        composed = added + _mixed(reference, 1 + keep, tints)
        denoised = (1 - sigma) / spread**2 * sample + sigma / spread * rest
        trusted = torch.sigmoid(trust + 2 * torch.logit(sigma, eps=1e-4))
        picture = denoised + trusted * (composed - denoised)
        flow = (sample - picture) / sigma.clamp(min=1e-4)
        return UNet2DConditionOutput(sample=flow) if return_dict else (flow,)

    def _shown(self, reference: Reference | None, sample: Any) -> Any:
        if reference is None:
            count = self.conv_in.in_channels - sample.shape[1]
            return sample.new_zeros((sample.shape[0], count, *sample.shape[2:]))
        covers = reference.covers.to(sample.dtype)
        covered = covers.amax(1, keepdim=True)
        colours = torch.einsum("bnhw,bnc->bchw", covers, self.colour_projection(reference.colours.to(sample.dtype)))
        behind = self.background_projection(reference.background.to(sample.dtype))[..., None, None] * (1 - covered)
        seen = (reference.codes, reference.gaps.sum(1), reference.shades.sum(1))
        return torch.cat([*(each.to(sample.dtype) for each in seen), colours + behind, covered], 1)


def _mixed(reference: Reference | None, keep: Any, tints: Any) -> Any:
    """Return the canvas with its gaps filled and its shades tinted: [B, C, H, W]. White is what fills them at first."""
    if reference is None:
        return 0
    gaps, shades = tints[:, :_NUM_GAPS, None] + 1, tints[:, _NUM_GAPS:, None]
    parts = (keep * reference.codes, (gaps * reference.gaps).sum(1), (shades * reference.shades).sum(1))
    return sum(part.to(keep.dtype) for part in parts)
