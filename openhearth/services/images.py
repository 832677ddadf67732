"""The images resource: generations, edits and variations (contract: images). Leaves drawing to the engine."""

import secrets
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from openhearth import clock
from openhearth.engine.base import ImageOutput, ImageParams, ImageUsage
from openhearth.errors import InvalidValueError, ModelNotFoundError, NotFoundError, UnsupportedParameterError
from openhearth.schemas.images import (
    CreateImageEditRequest,
    CreateImageRequest,
    CreateImageVariationRequest,
    EventType,
    Image,
    ImagesResponse,
    ImagesTokensDetails,
    ImageStreamEvent,
    ImagesUsage,
)
from openhearth.services.image_inputs import Picture, check_has_hole, check_pictures
from openhearth.services.image_links import ImageLinks
from openhearth.services.image_rules import (
    AnyImageRequest,
    ImageRules,
    check_request,
    default_model,
    is_of_the_reference,
    quality_of,
    rules_of,
    size_of,
)
from openhearth.services.metrics import Metrics
from openhearth.services.model_host import LoadedImageModel, ModelHost
from openhearth.services.time_limit import in_time

_EDIT_STRENGTH = 0.75
_FAITHFUL_EDIT_STRENGTH = 0.5
_VARIATION_STRENGTH = 0.65
_STYLES = {
    "vivid": "vivid colours, dramatic light, hyper-real",
    "natural": "natural colours, soft light, realistic",
}
_ADVICE = "Please ask for fewer or smaller images, or for fewer steps."
_MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A request that was not refused."""

    model: LoadedImageModel
    rules: ImageRules
    params: ImageParams
    returns_url: bool
    is_edit: bool

    @property
    def partial_event(self) -> EventType:
        """The name of the event for a preview."""
        return "image_edit.partial_image" if self.is_edit else "image_generation.partial_image"

    @property
    def completed_event(self) -> EventType:
        """The name of the event for an image."""
        return "image_edit.completed" if self.is_edit else "image_generation.completed"


class Images:
    """Creates images, whole or as a stream, and ends a request that takes too long. `base_url` is where links begin."""

    def __init__(
        self,
        host: ModelHost,
        links: ImageLinks,
        metrics: Metrics,
        *,
        timeout_seconds: float,
        now: clock.Clock = clock.now,
    ) -> None:
        self._host = host
        self._links = links
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._now = now

    async def generate(self, request: CreateImageRequest, *, base_url: str) -> ImagesResponse:
        """Draw images from words. Raises `APIError` if the request cannot be carried out."""
        return await self._whole(await self._generation(request), base_url)

    async def stream_generation(self, request: CreateImageRequest) -> AsyncGenerator[ImageStreamEvent]:
        """Draw images from words, with previews."""
        job = await self._generation(request)
        async with aclosing(self._events(job)) as events:
            async for event in events:
                yield event

    async def edit(
        self, request: CreateImageEditRequest, images: Sequence[Picture], mask: Picture | None, *, base_url: str
    ) -> ImagesResponse:
        """Change the first of `images`, where `mask` is transparent. Raises `APIError`."""
        return await self._whole(await self._edit(request, images, mask), base_url)

    async def stream_edit(
        self, request: CreateImageEditRequest, images: Sequence[Picture], mask: Picture | None
    ) -> AsyncGenerator[ImageStreamEvent]:
        """Change the first of `images`, with previews."""
        job = await self._edit(request, images, mask)
        async with aclosing(self._events(job)) as events:
            async for event in events:
                yield event

    async def create_variation(
        self, request: CreateImageVariationRequest, image: Picture, *, base_url: str
    ) -> ImagesResponse:
        """Draw variations of a picture. Raises `APIError`."""
        name, rules = _named(request)
        if not rules.can_vary:
            raise _other_model(name, "draw variations")
        model = await self._model(name)
        _check_can_edit(model)
        await check_pictures(model.engine, [image], None, rules)
        params = _params(request, rules, prompt="", images=[image], strength=_VARIATION_STRENGTH)
        return await self._whole(_job(model, rules, params, request), base_url)

    async def _generation(self, request: CreateImageRequest) -> _Job:
        name, rules = _named(request)
        model = await self._model(name)
        if not model.engine.info.can_generate:
            raise InvalidValueError(
                f"The model '{name}' fills holes in pictures and draws nothing else.", param="model"
            )
        _check_background(request, model)
        params = _params(request, rules, prompt=_styled(request, rules))
        return _job(model, rules, params, request)

    async def _edit(self, request: CreateImageEditRequest, images: Sequence[Picture], mask: Picture | None) -> _Job:
        name, rules = _named(request, num_images=len(images))
        if not rules.can_edit:
            raise _other_model(name, "edit")
        model = await self._model(name)
        _check_can_edit(model)
        _check_background(request, model)
        await check_pictures(model.engine, images, mask, rules)
        if mask is None and rules.is_strict_about_pictures:
            await check_has_hole(model.engine, images[0])
        is_faithful = request.input_fidelity == "high"
        params = _params(
            request,
            rules,
            prompt=request.prompt,
            images=images,
            mask=mask,
            strength=_FAITHFUL_EDIT_STRENGTH if is_faithful else _EDIT_STRENGTH,
        )
        return _job(model, rules, params, request)

    async def _model(self, name: str) -> LoadedImageModel:
        try:
            return await self._host.get_image_model(name)
        except ModelNotFoundError:
            if not is_of_the_reference(name):
                raise
            raise NotFoundError(
                f"The model `{name}` does not exist or you do not have access to it. No image model stands behind this "
                "name: set OPENHEARTH_IMAGE_MODEL to a diffusers directory or to org/name on the Hugging Face hub.",
                param="model",
                code="model_not_found",
            ) from None

    async def _whole(self, job: _Job, base_url: str) -> ImagesResponse:
        outputs: list[ImageOutput] = []
        async with aclosing(self._outputs(job)) as stream:
            async for output in stream:
                outputs.append(output)
        outputs.sort(key=lambda output: output.index)
        data = [await self._image(job, output, base_url) for output in outputs]
        response = ImagesResponse(created=int(self._now()), data=data)
        if job.rules.is_plain:
            return response
        return response.model_copy(
            update={
                "background": _background(outputs[0]),
                "output_format": job.params.output_format,
                "size": _size(outputs[0]),
                "quality": job.params.quality,
                "usage": _usage([output.usage for output in outputs if output.usage], with_details=True),
            }
        )

    async def _image(self, job: _Job, output: ImageOutput, base_url: str) -> Image:
        seed = job.params.seeds[output.index]
        if job.returns_url:
            path = await self._links.publish(output.data, job.params.output_format)
            image = Image(url=f"{base_url.rstrip('/')}{path}", seed=seed)
        else:
            image = Image(b64_json=b64encode(output.data).decode(), seed=seed)
        return image.model_copy(update={"revised_prompt": job.params.prompt}) if job.rules.revises_prompt else image

    async def _events(self, job: _Job) -> AsyncGenerator[ImageStreamEvent]:
        async with aclosing(self._outputs(job)) as outputs:
            async for output in outputs:
                yield self._event(job, output)

    async def _outputs(self, job: _Job) -> AsyncGenerator[ImageOutput]:
        """Yield what the engine draws while there is time, and take note of it."""
        arrival = time.perf_counter()
        drawn = job.model.engine.generate(job.params)
        async with aclosing(in_time(drawn, timeout_seconds=self._timeout_seconds, advice=_ADVICE)) as outputs:
            async for output in outputs:
                if output.partial_index is None:
                    self._metrics.drew(job.model.id)
                yield output
        self._metrics.finished(job.model.id, "stop", seconds=time.perf_counter() - arrival)

    def _event(self, job: _Job, output: ImageOutput) -> ImageStreamEvent:
        is_partial = output.partial_index is not None
        event = ImageStreamEvent(
            type=job.partial_event if is_partial else job.completed_event,
            b64_json=b64encode(output.data).decode(),
            created_at=int(self._now()),
            size=_size(output),
            quality=job.params.quality,
            background=_background(output),
            output_format=job.params.output_format,
        )
        if is_partial:
            return event.model_copy(update={"partial_image_index": output.partial_index})
        usage = _usage([output.usage] if output.usage else [], with_details=False)
        return event.model_copy(update={"usage": usage, "seed": job.params.seeds[output.index]})


def _named(request: AnyImageRequest, *, num_images: int = 1) -> tuple[str, ImageRules]:
    """Return the model's name and its rules, which the request keeps. Raises `BadRequestError`."""
    name = request.model or default_model(request, num_images=num_images)
    rules = rules_of(name)
    check_request(request, rules, model=name)
    return name, rules


def _params(
    request: AnyImageRequest,
    rules: ImageRules,
    *,
    prompt: str,
    images: Sequence[Picture] = (),
    mask: Picture | None = None,
    strength: float = 1.0,
) -> ImageParams:
    first_seed = secrets.randbelow(_MAX_SEED + 1) if request.seed is None else request.seed
    common = ImageParams(
        prompt=prompt,
        seeds=tuple((first_seed + index) % (_MAX_SEED + 1) for index in range(request.n or 1)),
        size=size_of(request.size, rules),
        images=tuple(image.path for image in images),
        mask=None if mask is None else mask.path,
        strength=strength,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
    )
    return common if isinstance(request, CreateImageVariationRequest) else _with_format(common, request, rules)


def _with_format(
    params: ImageParams, request: CreateImageRequest | CreateImageEditRequest, rules: ImageRules
) -> ImageParams:
    compression = request.output_compression
    return replace(
        params,
        quality=quality_of(request.quality, rules),
        num_partial_images=request.partial_images or 0,
        background=request.background or "auto",
        output_format=request.output_format or "png",
        output_compression=100 if compression is None else compression,
    )


def _job(model: LoadedImageModel, rules: ImageRules, params: ImageParams, request: AnyImageRequest) -> _Job:
    response_format = request.response_format or rules.default_response_format
    returns_url, is_edit = response_format == "url", bool(params.images)
    return _Job(model=model, rules=rules, params=params, returns_url=returns_url, is_edit=is_edit)


def _styled(request: CreateImageRequest, rules: ImageRules) -> str:
    """Return the prompt as it is drawn: of the models that have styles, with the words of one."""
    return f"{request.prompt}, {_STYLES[request.style or 'vivid']}" if rules.revises_prompt else request.prompt


def _check_can_edit(model: LoadedImageModel) -> None:
    if not model.engine.info.can_edit:
        raise UnsupportedParameterError(f"The model '{model.id}' draws from words only.", param="image")


def _check_background(request: CreateImageRequest | CreateImageEditRequest, model: LoadedImageModel) -> None:
    if request.background == "transparent" and not model.engine.info.has_transparency:
        raise UnsupportedParameterError(
            f"The model '{model.id}' does not draw transparency; leave 'background' to 'auto'.", param="background"
        )


def _other_model(name: str, verb: str) -> InvalidValueError:
    return InvalidValueError(f"The model '{name}' does not {verb}.", param="model")


def _background(output: ImageOutput) -> Literal["transparent", "opaque"]:
    return "transparent" if output.is_transparent else "opaque"


def _size(output: ImageOutput) -> str:
    return f"{output.width}x{output.height}"


def _usage(usages: Sequence[ImageUsage], *, with_details: bool) -> ImagesUsage:
    """Return the sum; the prompt and the pictures that were shown count once for the whole request."""
    text, shown = usages[0].num_text_tokens, usages[0].num_input_blocks
    drawn = sum(usage.num_output_blocks for usage in usages)
    usage = ImagesUsage(
        input_tokens=text + shown,
        output_tokens=drawn,
        total_tokens=text + shown + drawn,
        input_tokens_details=ImagesTokensDetails(text_tokens=text, image_tokens=shown),
    )
    details = ImagesTokensDetails(text_tokens=0, image_tokens=drawn)
    return usage.model_copy(update={"output_tokens_details": details}) if with_details else usage
