"""Pictures on their way in: kept in files for as long as a request lasts, and judged by the rules of the model."""

import asyncio
import base64
import binascii
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from openhearth.engine.base import ImageEngine, PictureInfo
from openhearth.errors import BadRequestError, InvalidValueError, MissingRequiredParameterError
from openhearth.services.image_rules import ImageRules

MAX_PICTURE_BYTES = 50 * 10**6
_MAX_STRICT_BYTES = 4 * 10**6
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was sent, and the parameter that it was sent as."""

    path: Path
    param: str


class Inbox:
    """Takes in the pictures of one request; a piece of a megabyte of each is in memory at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._num_pictures = 0

    async def receive(self, content: AsyncIterable[bytes], *, param: str) -> Picture:
        """Take in a picture of less than 50 MB. Raises `BadRequestError`."""
        self._num_pictures += 1
        path = self._folder / str(self._num_pictures)
        num_bytes, piece = 0, bytearray()
        async for chunk in content:
            num_bytes += len(chunk)
            if num_bytes >= MAX_PICTURE_BYTES:
                raise InvalidValueError(f"Invalid '{param}': a picture has to be smaller than 50 MB.", param=param)
            piece += chunk
            if len(piece) >= _PIECE_BYTES:
                await asyncio.to_thread(_append, path, piece)
                piece = bytearray()
        await asyncio.to_thread(_append, path, piece)
        return Picture(path, param)


class Inboxes:
    """Opens inboxes in a folder that holds nothing else; what a crash left there goes at the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Inbox]:
        """Give an inbox that is emptied at the end of the context."""
        folder = Path(await asyncio.to_thread(mkdtemp, dir=self._folder))
        try:
            yield Inbox(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # a few files; also when the request is being cancelled


async def data_url_content(url: str, *, param: str) -> AsyncIterator[bytes]:
    """Return the content of a `data:` URL. Raises `InvalidValueError`."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise InvalidValueError(
            f"Invalid '{param}': write a data URL as data:image/png;base64, with the content behind it.", param=param
        )
    try:
        content = await asyncio.to_thread(base64.b64decode, data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValueError(f"Invalid '{param}': the data URL is not base64.", param=param) from None
    yield content


async def check_pictures(
    engine: ImageEngine, images: Sequence[Picture], mask: Picture | None, rules: ImageRules
) -> None:
    """Raise `BadRequestError` for the first picture that cannot be decoded or breaks a rule of the named model."""
    if not images:
        raise MissingRequiredParameterError("image")
    if rules.is_strict_about_pictures and len(images) > 1:
        raise InvalidValueError("This model changes one image at a time.", param="image")
    infos = [await _checked(engine, image, rules) for image in images]
    if mask is not None:
        _check_mask(await _checked(engine, mask, rules), infos[0])


async def check_has_hole(engine: ImageEngine, image: Picture) -> None:
    """Raise `BadRequestError` if a picture that is its own mask is open nowhere."""
    if not (await engine.inspect(image.path)).has_transparent_pixels:
        raise MissingRequiredParameterError("mask")


async def _checked(engine: ImageEngine, picture: Picture, rules: ImageRules) -> PictureInfo:
    if rules.is_strict_about_pictures and picture.path.stat().st_size >= _MAX_STRICT_BYTES:
        raise _not_a_small_png(picture.param)
    try:
        info = await engine.inspect(picture.path)
    except BadRequestError as error:
        raise BadRequestError(
            f"Invalid '{picture.param}': {error.message}", param=picture.param, code=error.code
        ) from (error)
    if rules.is_strict_about_pictures and info.format != "png":
        raise _not_a_small_png(picture.param)
    if rules.is_strict_about_pictures and info.width != info.height:
        raise InvalidValueError(
            f"Uploaded image must be square, but it is {info.width}x{info.height}.", param=picture.param
        )
    return info


def _check_mask(mask: PictureInfo, image: PictureInfo) -> None:
    if (mask.width, mask.height) != (image.width, image.height):
        raise InvalidValueError(
            f"The mask has to be as large as the image: it is {mask.width}x{mask.height}, and the image is "
            f"{image.width}x{image.height}.",
            param="mask",
        )
    if not mask.has_alpha:
        raise InvalidValueError("The mask has no alpha channel: it has to be transparent where to edit.", param="mask")
    if not mask.has_transparent_pixels:
        raise InvalidValueError("The mask is transparent nowhere, so there is nothing to edit.", param="mask")


def _not_a_small_png(param: str) -> InvalidValueError:
    return InvalidValueError("Uploaded image must be a PNG and less than 4 MB.", param=param)


def _append(path: Path, piece: bytearray) -> None:
    with path.open("ab") as file:
        file.write(piece)
