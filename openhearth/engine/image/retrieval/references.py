"""From sprites on a canvas to what the network is shown."""

from collections.abc import Sequence
from typing import Any

import torch

from openhearth.engine.image.retrieval.captions import CaptionEncoder
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.unet import Reference

MAX_THINGS = 4


def reference(vae: PatchVAE, planes: Any, covers: Any, phrases: Any) -> Reference:
    """Return the reference to canvases, premultiplied planes [B, 4, H, W], with their `covers` and `phrases`."""
    with torch.no_grad():
        codes = vae.encode_planes(planes)
        on_white = vae.encode_planes(planes + (1 - planes[:, 3:]))
    return Reference(codes, on_white - codes, covers, phrases)


def named(encoder: CaptionEncoder, names: Sequence[Sequence[str]]) -> Any:
    """Return the phrases [B, 4, D] of up to four names for each canvas, zeros where there are fewer."""
    flat = [name for each in names for name in each]
    vectors = iter(encoder.phrases(flat)) if flat else iter(())
    nothing = torch.zeros(encoder.width, device=encoder.device)
    rows = [[next(vectors) for _ in each] + [nothing] * (MAX_THINGS - len(each)) for each in names]
    return torch.stack([torch.stack(row) for row in rows])
