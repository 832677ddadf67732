"""The images resource (contract: images). What each model takes of this is decided in `services/image_rules.py`."""

from typing import Annotated, Literal

from pydantic import Field

from openhearth.schemas.shared import RequestModel, ResponseModel

MAX_EDITED_IMAGES = 16
Background = Literal["transparent", "opaque", "auto"]
OutputFormat = Literal["png", "jpeg", "webp"]
EventType = Literal[
    "image_generation.partial_image",
    "image_generation.completed",
    "image_edit.partial_image",
    "image_edit.completed",
]
Prompt = Annotated[str, Field(min_length=1)]


class _ImageRequest(RequestModel):
    """What all requests for images share. `None` stands for the default of the model that is named.

    `seed`, `num_inference_steps` and `guidance_scale` are openhearth's own.
    """

    model: str | None = None
    n: Annotated[int | None, Field(ge=1, le=10)] = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    user: str | None = None
    seed: Annotated[int | None, Field(ge=0, le=2**32 - 1)] = None
    num_inference_steps: Annotated[int | None, Field(ge=1, le=1000)] = None
    guidance_scale: Annotated[float | None, Field(ge=0, le=100)] = None


class _PromptedImageRequest(_ImageRequest):
    """What generations and edits share."""

    prompt: Prompt
    quality: str | None = None
    background: Background | None = None
    moderation: Literal["low", "auto"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int | None, Field(ge=0, le=100)] = None
    stream: bool | None = None
    partial_images: Annotated[int | None, Field(ge=0, le=3)] = None
    safety_identifier: str | None = None


class CreateImageRequest(_PromptedImageRequest):
    """A request to draw images from words."""

    style: Literal["vivid", "natural"] | None = None


class CreateImageEditRequest(_PromptedImageRequest):
    """A request to change a picture, besides the pictures themselves."""

    input_fidelity: Literal["high", "low"] | None = None


class ImageRefParam(RequestModel):
    """A picture by its address, or by the id of a file: exactly one of the two."""

    image_url: Annotated[str | None, Field(max_length=20_971_520)] = None
    file_id: str | None = None


class EditImageBodyJsonParam(CreateImageEditRequest):
    """The same request as JSON, with the pictures in it."""

    images: Annotated[list[ImageRefParam], Field(min_length=1, max_length=MAX_EDITED_IMAGES)]
    mask: ImageRefParam | None = None


class CreateImageVariationRequest(_ImageRequest):
    """A request for variations of a picture, besides the picture itself."""


class Image(ResponseModel):
    """One image: a link to it, or itself in base64. `seed` draws it again."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None
    seed: int


class ImagesTokensDetails(ResponseModel):
    """What tokens were: of text, or blocks of 16x16 pixels of pictures."""

    text_tokens: int
    image_tokens: int


class ImagesUsage(ResponseModel):
    """What was taken in and drawn."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: ImagesTokensDetails
    output_tokens_details: ImagesTokensDetails | None = None


class ImagesResponse(ResponseModel):
    """The images of one request."""

    created: int
    data: list[Image]
    background: Literal["transparent", "opaque"] | None = None
    output_format: OutputFormat | None = None
    size: str | None = None
    quality: Literal["low", "medium", "high"] | None = None
    usage: ImagesUsage | None = None


class ImageStreamEvent(ResponseModel):
    """An event of a stream: a preview with its number, or an image with its seed and usage."""

    type: EventType
    b64_json: str
    created_at: int
    size: str
    quality: Literal["low", "medium", "high"]
    background: Literal["transparent", "opaque"]
    output_format: OutputFormat
    partial_image_index: int | None = None
    usage: ImagesUsage | None = None
    seed: int | None = None
