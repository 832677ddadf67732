"""A diffusers directory in memory: the one place that speaks to torch and diffusers.

Knows tensors, schedulers and the quirks of the families of models. Leaves sizes, masks and files to `painter.py`.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from openhearth.engine.base import ImageModelInfo, ImageQuality
from openhearth.engine.image.drawing import Drawing
from openhearth.engine.image.model_index import left_out, own_components, read_model_index
from openhearth.engine.image.previews import Estimate, estimates
from openhearth.engine.image.retrieval.edits import KeptLatents
from openhearth.engine.image.retrieval.guide import Guide
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.unet import RetrievalUNet
from openhearth.engine.image.sizes import Size
from openhearth.errors import ModelLoadError

_STEPS: dict[ImageQuality, int] = {"low": 20, "medium": 30, "high": 50}
_STEPS_OF_OURS: dict[ImageQuality, int] = {"low": 8, "medium": 16, "high": 24}
_FEW_STEPS: dict[ImageQuality, int] = {"low": 2, "medium": 4, "high": 8}
_FEW_STEP_SCHEDULERS = ("LCMScheduler", "TCDScheduler")
_DEFAULT_SIZE = 512
_CHANNELS_OF_INPAINTING = 9  # latents, the mask, and the latents of what is kept

OnStep = Callable[["Step"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of denoising is done. `preview` decodes what there is so far; empty if this family has no way to."""

    number: int
    preview: Callable[[], Sequence[Image.Image]]


class Pipeline:
    """One model, for every task it can do. Schedulers have state, so it draws one batch at a time."""

    def __init__(self, folder: Path) -> None:
        """Load the model. Raises `ModelLoadError` if it cannot be loaded, or asks for code of its own."""
        index = read_model_index(folder)
        try:
            self._text_to_image = diffusers.AutoPipelineForText2Image.from_pretrained(
                folder,
                torch_dtype=_dtype(),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                **left_out(index),
                **_own_components(folder, index),
            ).to(_device())
            self._guide = self._make_guide(folder)
        except (OSError, ValueError, TypeError, AttributeError, ImportError, KeyError) as error:
            raise ModelLoadError(f"diffusers cannot load it: {error}") from error
        self._image_to_image = _sibling(diffusers.AutoPipelineForImage2Image, self._text_to_image)
        inpainting = diffusers.AutoPipelineForInpainting
        self._inpainting = _sibling(inpainting, self._text_to_image) if self._guide is None else None
        self._text_to_image.set_progress_bar_config(disable=True)

    @property
    def info(self) -> ImageModelInfo:
        """What the model can do."""
        return ImageModelInfo(
            native_size=self._native_size,
            can_generate=not self._needs_mask,
            can_edit=self._image_to_image is not None or self._inpainting is not None,
            has_transparency=self._vae is not None and self._vae.config.get("out_channels") == 4,
        )

    @property
    def cell(self) -> int:
        """How many pixels make one position of the latent space, along an edge."""
        return int(self._text_to_image.vae_scale_factor)

    @property
    def factor(self) -> int:
        """What the edges of a size have to be a multiple of: diffusers wants 8, transformers pairs of positions."""
        return math.lcm(8, self.cell * (1 if self._has_unet else 2))

    def num_inference_steps(self, quality: ImageQuality) -> int:
        """Return how many steps a quality takes; few for models that are distilled to few."""
        if self._guide is not None:
            return _STEPS_OF_OURS[quality]
        scheduler = type(self._text_to_image.scheduler).__name__
        is_schnell = self._denoiser.config.get("guidance_embeds") is False
        return (_FEW_STEPS if is_schnell or scheduler in _FEW_STEP_SCHEDULERS else _STEPS)[quality]

    def num_tokens(self, prompt: str) -> int:
        """Return the length of a prompt in tokens of the model's first tokenizer, all of them counted."""
        tokenizer = getattr(self._text_to_image, "tokenizer", None)
        return 0 if tokenizer is None else len(tokenizer(prompt, truncation=False, verbose=False).input_ids)

    def draw(self, drawing: Drawing, on_step: OnStep) -> list[Image.Image]:
        """Draw one batch, in RGB or RGBA. An exception that `on_step` raises ends the work and comes out."""
        pipe, arguments = self._call(drawing)
        accepted = inspect.signature(pipe.__call__).parameters
        arguments |= {
            "prompt": drawing.prompt,
            "width": drawing.size[0],
            "height": drawing.size[1],
            "num_images_per_prompt": len(drawing.seeds),
            "num_inference_steps": _enough_steps(drawing),
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in drawing.seeds],
        }
        if drawing.guidance_scale is not None:
            arguments["guidance_scale"] = drawing.guidance_scale
        if self._guide is not None:
            arguments |= self._guide.arguments(drawing)
        with torch.inference_mode(), estimates(pipe.scheduler) as estimate:
            if "callback_on_step_end" in accepted:
                arguments["callback_on_step_end"] = self._callback(drawing, on_step, estimate)
            images: list[Image.Image] = pipe(
                **{name: value for name, value in arguments.items() if name in accepted}
            ).images
        return images

    def _call(self, drawing: Drawing) -> tuple[Any, dict[str, Any]]:
        """Return the pipeline for a drawing, and the arguments that only it has."""
        if drawing.picture is None:
            return self._text_to_image, {}
        arguments = {"image": drawing.picture, "strength": drawing.strength}
        if self._inpainting is not None and (drawing.mask is not None or self._needs_mask):
            return self._inpainting, arguments | {"mask_image": drawing.mask or Image.new("L", drawing.size, 255)}
        return self._image_to_image, arguments

    def _callback(self, drawing: Drawing, on_step: OnStep, estimate: Estimate) -> Callable[..., dict[str, Any]]:
        kept = self._kept(drawing)

        def callback(_pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(Step(number=index + 1, preview=lambda: self._decode(estimate(), drawing.size)))
            return tensors if kept is None else {"latents": kept.blended(tensors["latents"])}

        return callback

    def _kept(self, drawing: Drawing) -> KeptLatents | None:
        """Return what a mask leaves as it is, for models that no stock pipeline for inpainting takes."""
        if self._guide is None or drawing.picture is None or drawing.mask is None:
            return None
        return KeptLatents(self._image_to_image, drawing.picture, drawing.mask, drawing.seeds)

    def _make_guide(self, folder: Path) -> Guide | None:
        is_ours = isinstance(getattr(self._text_to_image, "unet", None), RetrievalUNet)
        return Guide(folder, self._text_to_image) if is_ours else None

    def _decode(self, latents: Any, size: Size) -> Sequence[Image.Image]:
        pipe, vae = self._text_to_image, self._vae
        if not isinstance(vae, (diffusers.AutoencoderKL, diffusers.AutoencoderTiny, PatchVAE)):
            return ()
        if hasattr(pipe, "_unpack_latents"):
            latents = pipe._unpack_latents(latents, size[1], size[0], self.cell)
        latents = latents / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0)
        decoded = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        images: list[Image.Image] = pipe.image_processor.postprocess(decoded)
        return images

    @property
    def _vae(self) -> Any:
        return getattr(self._text_to_image, "vae", None)

    @property
    def _has_unet(self) -> bool:
        return getattr(self._text_to_image, "unet", None) is not None

    @property
    def _denoiser(self) -> Any:
        return self._text_to_image.unet if self._has_unet else self._text_to_image.transformer

    @property
    def _needs_mask(self) -> bool:
        return self._has_unet and self._denoiser.config.get("in_channels") == _CHANNELS_OF_INPAINTING

    @property
    def _native_size(self) -> int:
        positions = getattr(self._text_to_image, "default_sample_size", None)
        positions = positions or self._denoiser.config.get("sample_size")
        return positions * self.cell if isinstance(positions, int) else _DEFAULT_SIZE


def _own_components(folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """Load the components that are of our own classes."""
    return {
        name: getattr(import_module(module), kind).from_pretrained(
            folder / name, torch_dtype=_dtype(), use_safetensors=True
        )
        for name, (module, kind) in own_components(index).items()
    }


def _sibling(auto: Any, pipe: Any) -> Any:
    """Return the pipeline for another task over the same components; `None` if the family has none."""
    try:
        sibling = auto.from_pipe(pipe, torch_dtype=pipe.dtype)
    except ValueError:
        return None
    sibling.set_progress_bar_config(disable=True)
    return sibling


def _enough_steps(drawing: Drawing) -> int:
    """Return as many steps as leave at least one: image-to-image takes only the last `strength` of them."""
    return max(drawing.num_inference_steps, math.ceil(1 / drawing.strength) if drawing.picture else 1)


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32
