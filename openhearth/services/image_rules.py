"""What each name of a model allows, as the reference has it (contract: images).

The rules go with the name that was asked for, not with the model behind it: `dall-e-2` keeps its limits whatever draws.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from openhearth.engine.base import ImageQuality
from openhearth.errors import BadRequestError, InvalidValueError, UnsupportedParameterError
from openhearth.schemas.images import (
    CreateImageEditRequest,
    CreateImageRequest,
    CreateImageVariationRequest,
    EditImageBodyJsonParam,
)

AnyImageRequest = CreateImageRequest | CreateImageEditRequest | CreateImageVariationRequest
Size = tuple[int, int]

_GPT_IMAGE_ONLY = (
    "background",
    "input_fidelity",
    "moderation",
    "output_compression",
    "output_format",
    "partial_images",
    "stream",
)
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
_SQUARES = ("256x256", "512x512", "1024x1024")
_FIRST_GPT_IMAGES = ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "chatgpt-image-latest")
_GRADES: dict[str, ImageQuality] = {"low": "low", "medium": "medium", "high": "high", "auto": "medium"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRules:
    """What one name of a model allows.

    `sizes` are those that may be asked for, or `None` for any within the limits of `edge_multiple` and the two bounds;
    `default_size` of `None` leaves the choice to the model. `is_strict_about_pictures` stands for the rules of the
    first generation: one square PNG of less than 4 MB.
    """

    max_prompt_length: int
    max_n: int = 10
    sizes: Collection[str] | None = None
    default_size: str | None = None
    edge_multiple: int = 1
    max_edge: int = 4096
    min_pixels: int = 0
    max_pixels: int = 4096 * 4096
    qualities: Mapping[str, ImageQuality]
    refused: Collection[str] = ()
    default_response_format: str = "b64_json"
    is_plain: bool = False
    revises_prompt: bool = False
    input_fidelities: Collection[str] = ("high", "low")
    can_edit: bool = True
    can_vary: bool = True
    is_strict_about_pictures: bool = False


_DALL_E_2 = ImageRules(
    max_prompt_length=1000,
    sizes=_SQUARES,
    default_size="1024x1024",
    qualities={"standard": "medium", "auto": "medium"},
    refused=(*_GPT_IMAGE_ONLY, "style"),
    default_response_format="url",
    is_plain=True,
    is_strict_about_pictures=True,
)
_DALL_E_3 = ImageRules(
    max_prompt_length=4000,
    max_n=1,
    sizes=("1024x1024", "1792x1024", "1024x1792"),
    default_size="1024x1024",
    qualities={"standard": "medium", "hd": "high", "auto": "medium"},
    refused=_GPT_IMAGE_ONLY,
    default_response_format="url",
    is_plain=True,
    revises_prompt=True,
    can_edit=False,
    can_vary=False,
)
_GPT_IMAGE_1 = ImageRules(
    max_prompt_length=32_000,
    sizes=("1024x1024", "1536x1024", "1024x1536", "auto"),
    qualities=_GRADES,
    refused=("style", "response_format"),
    can_vary=False,
)
_GPT_IMAGE = ImageRules(
    max_prompt_length=32_000,
    edge_multiple=16,
    max_edge=3840,
    min_pixels=655_360,
    max_pixels=3840 * 2160,
    qualities={**_GRADES, "xhigh": "high", "max": "high"},
    refused=("style", "response_format"),
    can_vary=False,
)
_OTHER = ImageRules(
    max_prompt_length=32_000,
    qualities={**_GRADES, "standard": "medium", "hd": "high"},
    refused=("style",),
)

_BY_NAME = {
    "dall-e-2": _DALL_E_2,
    "dall-e-3": _DALL_E_3,
    **dict.fromkeys(_FIRST_GPT_IMAGES, _GPT_IMAGE_1),
    "gpt-image-1-mini": replace(_GPT_IMAGE_1, input_fidelities=("low",)),
}
_GPT_IMAGE_2 = replace(_GPT_IMAGE, refused=(*_GPT_IMAGE.refused, "input_fidelity"))


def is_of_the_reference(model: str) -> bool:
    """Whether a name is one of the reference's own, which this server may have no model for."""
    return model in _BY_NAME or model.startswith("gpt-image-")


def default_model(request: AnyImageRequest, *, num_images: int = 1) -> str:
    """Return the model for a request that names none: the first one that takes what it asks for."""
    needs_gpt_image = num_images > 1 or any(getattr(request, name, None) is not None for name in _GPT_IMAGE_ONLY)
    if isinstance(request, EditImageBodyJsonParam) or (needs_gpt_image and isinstance(request, CreateImageEditRequest)):
        return "gpt-image-1.5"
    return "gpt-image-1" if needs_gpt_image else "dall-e-2"


def rules_of(model: str) -> ImageRules:
    """Return the rules of a name."""
    if model == "gpt-image-2" or model.startswith("gpt-image-2-"):
        return _GPT_IMAGE_2
    return _BY_NAME.get(model) or (_GPT_IMAGE if model.startswith("gpt-image-") else _OTHER)


def check_request(request: AnyImageRequest, rules: ImageRules, *, model: str) -> None:
    """Raise `BadRequestError` for the first parameter that the named model does not take."""
    for name in rules.refused:
        if getattr(request, name, None) not in (None, False):
            raise UnsupportedParameterError(f"'{name}' is not supported with the model '{model}'.", param=name)
    if request.n is not None and request.n > rules.max_n:
        raise BadRequestError(
            f"Invalid 'n': integer above maximum value. Expected a value <= {rules.max_n}, but got {request.n} "
            f"instead. The model '{model}' draws {rules.max_n} image at a time.",
            param="n",
            code="integer_above_max_value",
        )
    if not isinstance(request, CreateImageVariationRequest):
        _check_prompt(request.prompt, rules)
        quality_of(request.quality, rules)
        _check_format(request)
    if isinstance(request, CreateImageEditRequest):
        _check_edit(request, rules, model)
    size_of(request.size, rules)


def size_of(size: str | None, rules: ImageRules) -> Size | None:
    """Return width and height in pixels; `None` leaves them to the model. Raises `BadRequestError`."""
    chosen = rules.default_size if size is None else size
    if rules.sizes is not None and chosen is not None and chosen not in rules.sizes:
        raise InvalidValueError(
            f"Invalid value: '{chosen}'. Supported values are: {_listed(rules.sizes)}.", param="size"
        )
    if chosen is None or chosen == "auto":
        return None
    match = _SIZE.fullmatch(chosen)
    if match is None:
        raise InvalidValueError(
            f"Invalid value: '{chosen}'. Write width and height in pixels, as in '1024x768', or 'auto'.", param="size"
        )
    width, height = int(match[1]), int(match[2])
    _check_edges(width, height, rules)
    return width, height


def quality_of(quality: str | None, rules: ImageRules) -> ImageQuality:
    """Return how much work to put in. Raises `BadRequestError`."""
    if quality is None:
        return "medium"
    if quality not in rules.qualities:
        raise InvalidValueError(
            f"Invalid value: '{quality}'. Supported values are: {_listed(rules.qualities)}.", param="quality"
        )
    return rules.qualities[quality]


def _check_prompt(prompt: str, rules: ImageRules) -> None:
    if len(prompt) > rules.max_prompt_length:
        raise BadRequestError(
            f"Invalid 'prompt': string too long. Expected a string with maximum length {rules.max_prompt_length}, but "
            f"got a string with length {len(prompt)} instead.",
            param="prompt",
            code="string_above_max_length",
        )


def _check_format(request: CreateImageRequest | CreateImageEditRequest) -> None:
    """Refuse what contradicts itself."""
    if request.background == "transparent" and request.output_format == "jpeg":
        raise InvalidValueError(
            "JPEG has no transparency: ask for 'png' or 'webp' with a transparent background.", param="background"
        )
    if request.output_compression not in (None, 100) and request.output_format in (None, "png"):
        raise InvalidValueError(
            "PNG is not compressed with loss: ask for 'jpeg' or 'webp' with 'output_compression'.",
            param="output_compression",
        )
    if request.partial_images and not request.stream:
        raise InvalidValueError("'partial_images' come in a stream only: set 'stream'.", param="partial_images")


def _check_edit(request: CreateImageEditRequest, rules: ImageRules, model: str) -> None:
    if isinstance(request, EditImageBodyJsonParam) and rules.is_strict_about_pictures:
        raise InvalidValueError(f"The model '{model}' takes its image as a file of a form, not in JSON.", param="model")
    if request.input_fidelity is not None and request.input_fidelity not in rules.input_fidelities:
        raise InvalidValueError(
            f"Invalid value: '{request.input_fidelity}'. Supported values are: {_listed(rules.input_fidelities)}.",
            param="input_fidelity",
        )


def _check_edges(width: int, height: int, rules: ImageRules) -> None:
    is_allowed = (
        min(width, height) >= 16
        and max(width, height) <= rules.max_edge
        and rules.min_pixels <= width * height <= rules.max_pixels
        and max(width, height) <= 3 * min(width, height)
        and width % rules.edge_multiple == height % rules.edge_multiple == 0
    )
    if not is_allowed:
        multiples = f"multiples of {rules.edge_multiple} " if rules.edge_multiple > 1 else ""
        raise InvalidValueError(
            f"Invalid value: '{width}x{height}'. Edges are {multiples}from 16 to {rules.max_edge} pixels, the longer "
            f"one at most three times the shorter, with {rules.min_pixels} to {rules.max_pixels} pixels in all.",
            param="size",
        )


def _listed(values: Collection[str]) -> str:
    """Return the values in the words that the service has for them."""
    *others, last = (f"'{value}'" for value in values)
    return f"{', '.join(others)}, and {last}" if others else last
