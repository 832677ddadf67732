"""One request for images, from parameters to files: sizes, batches, masks, previews.

Leaves drawing to `pipeline.py`, and what the pixels of a mask mean to `masks.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageOps
from PIL.Image import Resampling

from openhearth.engine.base import ImageOutput, ImageParams, ImageUsage
from openhearth.engine.image.collage import first_cell_of, grid, side_by_side
from openhearth.engine.image.drawing import Drawing
from openhearth.engine.image.masks import filled, hole_of, pasted, widened
from openhearth.engine.image.pictures import flattened, is_see_through, read_picture, write_picture
from openhearth.engine.image.pipeline import Pipeline, Step
from openhearth.engine.image.sizes import Size, batches, drawing_size, num_blocks

Emit = Callable[[ImageOutput], None]


class Painter:
    """Carries out requests, one after the other."""

    def __init__(self, pipeline: Pipeline, *, max_batch_pixels: int) -> None:
        self._pipeline = pipeline
        self._max_batch_pixels = max_batch_pixels

    def paint(self, params: ImageParams, emit: Emit, check: Callable[[], None]) -> None:
        """Draw all images and emit each once it is done; `check` is called at every step, and may raise to end it."""
        native = self._pipeline.info.native_size
        motif = _read_motif(params) if params.images else None
        size = params.size or (motif.size if motif else (native, native))
        job = _Job(self._pipeline, params, motif and motif.fitted(size), size)
        for batch in batches(len(params.seeds), job.size_drawn, max_pixels=self._max_batch_pixels):
            job.paint(batch, emit, check)


@dataclass(frozen=True, slots=True)
class _Motif:
    """A picture to change: where its mask is open, or all of it without one. `others` are to be looked at."""

    original: Image.Image
    mask: Image.Image | None
    others: tuple[Image.Image, ...]

    @property
    def size(self) -> Size:
        return self.original.size

    def fitted(self, size: Size) -> "_Motif":
        """Return the motif at `size`, to the bit if that is its own, with overlapping edges cut off otherwise."""
        if size == self.size:
            return self
        mask = self.mask and ImageOps.fit(self.mask, size, Resampling.BILINEAR)
        return _Motif(ImageOps.fit(self.original, size, Resampling.LANCZOS), mask, self.others)


def _read_motif(params: ImageParams) -> _Motif:
    original, *others = map(read_picture, params.images)
    mask = hole_of(original if params.mask is None else read_picture(params.mask))
    is_open_somewhere = mask.getextrema()[1] == 255
    return _Motif(original, mask if is_open_somewhere else None, tuple(map(flattened, others)))


class _Job:
    """One request under way."""

    def __init__(self, pipeline: Pipeline, params: ImageParams, motif: _Motif | None, size: Size) -> None:
        self._pipeline = pipeline
        self._params = params
        self._motif = motif
        self._size = size
        self._num_pictures = max(1, len(params.images))
        columns, rows = grid(self._num_pictures)
        canvas = (size[0] * columns, size[1] * rows)
        self.size_drawn = drawing_size(canvas, native=pipeline.info.native_size, factor=pipeline.factor)

    def paint(self, batch: range, emit: Emit, check: Callable[[], None]) -> None:
        """Draw the images of these numbers together."""
        drawing = self._drawing(batch)
        due = self._preview_steps(drawing)

        def on_step(step: Step) -> None:
            check()
            if step.number in due:
                for index, image in zip(batch, step.preview(), strict=False):
                    emit(self._output(index, image, partial_index=due.index(step.number)))

        images = self._pipeline.draw(drawing, on_step)
        for index, image in zip(batch, images, strict=True):
            emit(self._output(index, image, usage=self._usage()))

    def _drawing(self, batch: range) -> Drawing:
        params, steps = self._params, self._params.num_inference_steps
        make = partial(
            Drawing,
            prompt=params.prompt,
            seeds=[params.seeds[index] for index in batch],
            size=self.size_drawn,
            num_inference_steps=self._pipeline.num_inference_steps(params.quality) if steps is None else steps,
            guidance_scale=params.guidance_scale,
            is_transparent=params.background == "transparent",
        )
        if self._motif is None:
            return make()
        mask = self._mask_drawn(self._motif)
        picture = self._picture_drawn(self._motif)
        if mask is not None:
            picture = filled(picture, mask) if self._motif.mask is not None else picture
        strength = params.strength if self._motif.mask is None else 1.0
        return make(picture=picture, mask=mask, strength=strength)

    def _picture_drawn(self, motif: _Motif) -> Image.Image:
        if not motif.others:
            return motif.original.resize(self.size_drawn, Resampling.LANCZOS).convert("RGB")
        return side_by_side((motif.original.convert("RGB"), *motif.others), self.size_drawn)

    def _mask_drawn(self, motif: _Motif) -> Image.Image | None:
        if motif.mask is None and not motif.others:
            return None
        mask = motif.mask or Image.new("L", motif.size, 255)
        if motif.others:
            closed = [Image.new("L", motif.size, 0)] * len(motif.others)
            mask = side_by_side((mask, *closed), self.size_drawn, blank="black")
        return widened(mask, self.size_drawn, cell=self._pipeline.cell)

    def _preview_steps(self, drawing: Drawing) -> list[int]:
        count, steps = self._params.num_partial_images, max(1, int(drawing.num_inference_steps * drawing.strength))
        due = {steps * (number + 1) // (count + 1) for number in range(count)}
        return sorted(due - {0, steps})

    def _output(
        self, index: int, drawn: Image.Image, *, partial_index: int | None = None, usage: ImageUsage | None = None
    ) -> ImageOutput:
        params, image = self._params, self._finished(drawn)
        return ImageOutput(
            index=index,
            data=write_picture(image, params.output_format, compression=params.output_compression),
            width=image.width,
            height=image.height,
            is_transparent=image.mode == "RGBA",
            partial_index=partial_index,
            usage=usage,
        )

    def _finished(self, drawn: Image.Image) -> Image.Image:
        """Bring what was drawn to the size of the result, and put back what was not to change."""
        if drawn.mode != "RGBA" or self._params.background != "transparent":
            drawn = flattened(drawn)
        drawn = first_cell_of(drawn, self._num_pictures).resize(self._size, Resampling.LANCZOS)
        if self._motif is not None and self._motif.mask is not None:
            drawn = pasted(self._motif.original, drawn.convert("RGBA"), self._motif.mask)
        has_alpha = is_see_through(drawn)
        keeps_alpha = self._params.background != "opaque" and self._params.output_format != "jpeg"
        return drawn if has_alpha and keeps_alpha else flattened(drawn)

    def _usage(self) -> ImageUsage:
        return ImageUsage(
            num_text_tokens=self._pipeline.num_tokens(self._params.prompt),
            num_input_blocks=num_blocks(self.size_drawn) if self._motif else 0,
            num_output_blocks=num_blocks(self.size_drawn),
        )
