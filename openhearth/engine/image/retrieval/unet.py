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


@dataclass(frozen=True, slots=True)
class Reference:
    """What the network is shown, for a batch of B canvases with up to N things each.

    `codes` [B, C, H, W] is the canvas in the code of the autoencoder, `outlines` [B, C, H, W] what it would add to that
    code to lie on white, `covers` [B, N, H, W] says how far each thing covers each position, `phrases` [B, N, D] are
    the embeddings of their names.
    """

    codes: Any
    outlines: Any
    covers: Any
    phrases: Any

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
    nothing is shown. Inside, the network predicts what preconditioning leaves of the picture (Karras et al. 2022,
    table 1, for the straight path of flow matching and data of unit variance): all of it when there is much noise. How
    much of the canvas goes straight into that, it says for each number of the code; copying need not be learnt.
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
        self.phrase_projection = nn.Linear(cross_attention_dim, phrase_channels)
        self.conv_in = nn.Conv2d(3 * in_channels + phrase_channels + 1, block_out_channels[0], 3, padding=1)
        self.conv_out = nn.Conv2d(block_out_channels[0], 3 * out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(  # type: ignore[no-untyped-def]
        self, sample, timestep, encoder_hidden_states, cross_attention_kwargs=None, return_dict=True, **kwargs
    ) -> Any:
        """See `UNet2DConditionModel.forward`."""
        others = dict(cross_attention_kwargs or {})
        reference = others.pop("reference", None)
        sigma = (
            torch.as_tensor(timestep, dtype=sample.dtype, device=sample.device).reshape(-1, 1, 1, 1) / _NUM_TIMESTEPS
        )
        spread = ((1 - sigma) ** 2 + sigma**2).sqrt()
        shown = self._shown(reference, sample)
        inner = super().forward(
            torch.cat([sample / spread, shown], 1),
            timestep,
            encoder_hidden_states,
            cross_attention_kwargs=others or None,
            return_dict=False,
            **kwargs,
        )[0]
        rest, *gates = inner.chunk(3, 1)
        copied = shown[:, : 2 * rest.shape[1]].chunk(2, 1)
        inner = rest + sum(gate * part for gate, part in zip(gates, copied, strict=True))
        # picture = (1 - sigma) / spread² * sample + sigma / spread * inner, flow = (sample - picture) / sigma
        flow = (2 * sigma - 1) / spread**2 * sample - inner / spread
        return UNet2DConditionOutput(sample=flow) if return_dict else (flow,)

    def _shown(self, reference: Reference | None, sample: Any) -> Any:
        if reference is None:
            count = self.conv_in.in_channels - sample.shape[1]
            return sample.new_zeros((sample.shape[0], count, *sample.shape[2:]))
        covers = reference.covers.to(sample.dtype)
        words = self.phrase_projection(reference.phrases.to(sample.dtype))
        named = torch.einsum("bnhw,bnc->bchw", covers, words)
        codes = (reference.codes.to(sample.dtype), reference.outlines.to(sample.dtype))
        return torch.cat([*codes, named, covers.amax(1, keepdim=True)], 1)
