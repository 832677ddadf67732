"""Says what a picture shows, as a point in the space of the sentence encoder."""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional


class Scorer(ModelMixin, ConfigMixin):
    """Codes of pictures [B, C, 16, 16] to vectors [B, D] of length 1, near those of captions that fit."""

    @register_to_config
    def __init__(
        self, in_channels: int = 64, width: int = 64, out_features: int = 384, num_layers: tuple[int, ...] = (1, 2, 2)
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(num_layers))]
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.levels = nn.ModuleList()
        for level, (channels, count) in enumerate(zip(widths, num_layers, strict=True)):
            narrower = [nn.Conv2d(widths[level - 1], channels, 2, stride=2)] if level else []
            self.levels.append(nn.Sequential(*narrower, *(_Block(channels) for _ in range(count))))
        self.last = nn.Linear(2 * widths[-1], out_features)

    def forward(self, codes: Any) -> Any:
        """Return the vectors of codes."""
        features = self.first(codes)
        for level in self.levels:
            features = level(features)
        pooled = [
            pool(features, 1).flatten(1) for pool in (functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d)
        ]
        return functional.normalize(self.last(functional.silu(torch.cat(pooled, 1))), dim=-1)


class _Block(nn.Module):
    """Two convolutions beside a short cut, behind a normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(16, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(16, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, features: Any) -> Any:
        return features + self.layers(features)
