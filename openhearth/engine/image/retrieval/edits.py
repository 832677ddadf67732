"""Keeps the latents outside a mask, at every step, as noisy as the rest (Avrahami et al. 2022, Blended Diffusion).

Works with any number of channels, where the stock pipeline for inpainting wants four or nine.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling


class KeptLatents:
    """The latents of a picture, and where they stay: wherever `mask` (mode L) is closed."""

    def __init__(self, pipe: Any, picture: Image.Image, mask: Image.Image, seeds: Sequence[int]) -> None:
        pixels = pipe.image_processor.preprocess(picture).to(pipe.vae.device, pipe.vae.dtype)
        self._latents = pipe.vae.encode(pixels).latents * pipe.vae.config.scaling_factor
        generators = [torch.Generator("cpu").manual_seed(seed + 1) for seed in seeds]
        noise = torch.cat([torch.randn(self._latents.shape, generator=generator) for generator in generators])
        self._noise = noise.to(self._latents)
        grid = (self._latents.shape[-1], self._latents.shape[-2])
        self._is_open = torch.from_numpy(np.asarray(mask.resize(grid, Resampling.BOX)) > 0).to(self._latents.device)
        self._scheduler = pipe.scheduler

    def blended(self, latents: Any) -> Any:
        """Return latents after a step, with what is kept put back."""
        sigma = self._scheduler.sigmas[self._scheduler.step_index]
        kept = (1 - sigma) * self._latents + sigma * self._noise
        return torch.where(self._is_open, latents, kept.to(latents.dtype))
