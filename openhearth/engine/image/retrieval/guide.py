"""What the embedded model's pipeline is called with: the text's states, and a canvas of sprites for each seed.

Everything random is drawn from the image's own seed, so that a batch draws what single images would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling, Transpose

from openhearth.engine.image.drawing import Drawing
from openhearth.engine.image.retrieval.bank import Bank
from openhearth.engine.image.retrieval.canvas import Placed, coverage, layers, stacked
from openhearth.engine.image.retrieval.captions import CaptionEncoder
from openhearth.engine.image.retrieval.layout import WHOLE, Box, boxes
from openhearth.engine.image.retrieval.prompts import Mention, Request, read_prompt
from openhearth.engine.image.retrieval.references import MAX_THINGS, colours_of, reference
from openhearth.engine.image.retrieval.unet import Reference

GUIDANCE_SCALE = 2.0
_NEAREST = 0.8
"""The smallest part of a picture's edges that a variation shows."""

_TRANSPARENT = "on a transparent background"


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What is shown: layers in RGBA, the colours that they take on, and the background, in words or as a picture."""

    parts: Sequence[Image.Image]
    colours: Sequence[str] = ()
    background: str = ""
    behind: Image.Image | None = None


class Guide:
    """Reads prompts for a pipeline whose network is a `RetrievalUNet`, with the bank in its folder."""

    def __init__(self, folder: Path, pipe: Any) -> None:
        """Read the bank. Raises `OSError` or `ValueError` if there is none."""
        self._vae = pipe.vae
        self._encoder = CaptionEncoder(pipe.text_encoder, pipe.tokenizer)
        self._bank = Bank(folder / "bank", self._encoder.embeddings)

    def arguments(self, drawing: Drawing) -> dict[str, Any]:
        """Return the arguments that take the place of the prompt, and for variations of the picture."""
        if _is_variation(drawing):
            return self._variations(drawing)
        return self._prompted(drawing, [self._shown(drawing, seed) for seed in drawing.seeds])

    def _variations(self, drawing: Drawing) -> dict[str, Any]:
        """Show the network the picture, anew framed for each seed, and let it begin from that."""
        assert drawing.picture is not None
        framed = [reframed(drawing.picture, seed) for seed in drawing.seeds]
        canvases = [_Canvas([picture.convert("RGBA")]) for picture in framed]
        shown = [self._reference(canvas, drawing) for canvas in canvases]
        return self._prompted(drawing, shown) | {"image": framed}

    def _prompted(self, drawing: Drawing, references: Sequence[Reference]) -> dict[str, Any]:
        caption = drawing.prompt
        if drawing.is_transparent and "transparent" not in caption:
            caption = f"{caption} {_TRANSPARENT}"
        states = self._encoder.states([caption] * len(drawing.seeds))
        shown = Reference.join(list(references))
        scale = GUIDANCE_SCALE if drawing.guidance_scale is None else drawing.guidance_scale
        return {
            "prompt": None,
            "num_images_per_prompt": 1,
            "prompt_embeds": states,
            "negative_prompt_embeds": torch.zeros_like(states),
            "guidance_scale": scale,
            "cross_attention_kwargs": {
                "reference": Reference.join([shown.nothing(), shown]) if scale > 1 else shown,
            },
        }

    def _shown(self, drawing: Drawing, seed: int) -> Reference:
        request, random = read_prompt(drawing.prompt, self._bank.names), Random(seed)
        placed, colours = self._placed(request, _region(drawing), random)
        background = _TRANSPARENT if drawing.is_transparent else request.background
        behind = None if background or drawing.picture is None else drawing.picture.convert("RGBA")
        return self._reference(_Canvas(layers(placed, drawing.size), colours, background, behind), drawing)

    def _placed(self, request: Request, region: Box, random: Random) -> tuple[list[Placed], list[str]]:
        """Return the sprites that a prompt asks for, in their places, and what colour each takes on."""
        where = boxes(request.layout, random)
        if request.is_reversed:
            where.reverse()
        things = _each(request.mentions)[: len(where)]
        chosen = {
            mention: random.choice(self._bank.find(mention.phrase, request.style)) for mention in request.mentions
        }
        placed = [
            Placed(self._bank.picture(chosen[mention]), box.within(region), random.random() < 0.5)
            for mention, box in zip(things, where, strict=True)
        ]
        return placed, [mention.colour_for(chosen[mention].name) for mention in things]

    def _reference(self, canvas: "_Canvas", drawing: Drawing) -> Reference:
        parts, size = canvas.parts, drawing.size
        edge = self._vae.config.patch_size
        layered = [*filter(None, (canvas.behind,)), *parts]
        pixels = torch.from_numpy(np.array(stacked(layered, size), np.float32) / 255).movedim(-1, 0)[None]
        covers = torch.zeros(1, MAX_THINGS, size[1] // edge, size[0] // edge)
        covers[0, : len(parts)] = torch.from_numpy(coverage(parts, (size[0] // edge, size[1] // edge)))
        planes = torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], 1)
        planes, covers = planes.to(self._vae.device, self._vae.dtype), covers.to(self._vae.device)
        colours = colours_of(self._encoder, [canvas.colours])
        return reference(self._vae, planes, covers, colours, self._encoder.phrases([canvas.background]))


def reframed(picture: Image.Image, seed: int) -> Image.Image:
    """Return a picture at its own size, a little nearer, and mirrored or not: what a seed makes of it."""
    random = Random(seed)
    part = random.uniform(_NEAREST, 1.0)
    width, height = picture.width * part, picture.height * part
    left, top = random.uniform(0, picture.width - width), random.uniform(0, picture.height - height)
    near = picture.resize(picture.size, Resampling.BICUBIC, (left, top, left + width, top + height))
    return near.transpose(Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else near


def _is_variation(drawing: Drawing) -> bool:
    return drawing.picture is not None and not drawing.prompt.strip()


def _each(mentions: Sequence[Mention]) -> list[Mention]:
    return [mention for mention in mentions for _ in range(mention.count)]


def _region(drawing: Drawing) -> Box:
    """Return the part of the canvas that may change."""
    rim = drawing.mask and drawing.mask.getbbox()
    if not rim:
        return WHOLE
    width, height = drawing.size
    left, top, right, bottom = rim
    return Box(left / width, top / height, (right - left) / width, (bottom - top) / height)
