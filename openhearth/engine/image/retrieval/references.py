"""From sprites on a canvas to what the network is shown."""

from collections.abc import Sequence
from typing import Any

import torch

from openhearth.engine.image.retrieval.captions import CaptionEncoder
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.unet import Reference

MAX_THINGS = 4
_LIGHT = (0.3, 0.59, 0.11)


def reference(vae: PatchVAE, planes: Any, covers: Any, colours: Any, background: Any) -> Reference:
    """Return the reference to canvases, premultiplied planes [B, 4, H, W]; see `Reference` for the others."""
    with torch.no_grad():
        light = (planes[:, :3] * planes.new_tensor(_LIGHT)[:, None, None]).sum(1, keepdim=True)
        return Reference(
            codes=vae.encode_planes(planes),
            gaps=vae.encode_shares(1 - planes[:, 3:]),
            shades=vae.encode_shares(light)[:, :3],
            covers=covers,
            colours=colours,
            background=background,
        )


def colours_of(encoder: CaptionEncoder, names: Sequence[Sequence[str]]) -> Any:
    """Return [B, 4, D]: the embeddings of up to four colours for each canvas; zeros for empty words, and for none."""
    padded = [[*each, *[""] * (MAX_THINGS - len(each))] for each in names]
    flat = encoder.phrases([name for each in padded for name in each])
    return flat.unflatten(0, (len(padded), MAX_THINGS))
