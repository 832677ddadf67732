"""One call of a pipeline, as values."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from openhearth.engine.image.sizes import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One call of the pipeline: a batch with one image for each seed, all of them `size` large.

    With `picture`, that is changed: as a whole, as far as `strength` allows, or where `mask` (mode L) is open.
    `is_transparent` asks for nothing behind what is drawn, of models whose pictures have alpha.
    """

    prompt: str
    seeds: Sequence[int]
    size: Size
    num_inference_steps: int
    guidance_scale: float | None
    picture: Image.Image | None = None
    mask: Image.Image | None = None
    strength: float = 1.0
    is_transparent: bool = False
