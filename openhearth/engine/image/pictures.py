"""Pictures as files: decoded at bounded memory, whatever they claim to be, and encoded.

Leaves what a picture is for to others.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import cast

from PIL import Image, ImageOps, PngImagePlugin

from openhearth.engine.base import ImageFormat, PictureInfo
from openhearth.errors import BadRequestError

MAX_PIXELS = 25_000_000
"""The most pixels a picture that is sent may have: 100 MB when it is decoded."""

_FORMATS = ("PNG", "JPEG", "WEBP")
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**20


class UnreadablePictureError(BadRequestError):
    """The bytes are not a picture that can be decoded."""

    code = "invalid_image"


def inspect_picture(path: Path) -> PictureInfo:
    """Decode a picture to its last pixel, and say what it is. Raises `UnreadablePictureError`."""
    with _opened(path) as picture:
        file_format = cast("ImageFormat", str(picture.format).lower())
        decoded = _decoded(picture)
        has_alpha = decoded.mode == "RGBA"
        return PictureInfo(
            format=file_format,
            width=decoded.width,
            height=decoded.height,
            has_alpha=has_alpha,
            has_transparent_pixels=has_alpha and decoded.getchannel("A").getextrema()[0] == 0,
        )


def read_picture(path: Path) -> Image.Image:
    """Return a picture the right way up, in RGBA. Raises `UnreadablePictureError`."""
    with _opened(path) as picture:
        return _decoded(picture).convert("RGBA")


def is_see_through(picture: Image.Image) -> bool:
    """Whether any pixel is not wholly opaque."""
    return picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255)


def flattened(picture: Image.Image) -> Image.Image:
    """Return the picture in RGB, on white where it is transparent."""
    if not is_see_through(picture):
        return picture.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def write_picture(picture: Image.Image, file_format: ImageFormat, *, compression: int) -> bytes:
    """Encode a picture in RGB or RGBA. `compression`, from 0 to 100, is the quality of JPEG and WebP."""
    file = BytesIO()
    match file_format:
        case "png":
            picture.save(file, "PNG")
        case "jpeg":
            picture.save(file, "JPEG", quality=max(1, compression), subsampling=0)
        case "webp":
            picture.save(file, "WEBP", quality=compression, lossless=compression == 100)
    return file.getvalue()


def _decoded(picture: Image.Image) -> Image.Image:
    """Return the picture the right way up, in RGB or, if it has transparency in any form, in RGBA."""
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return ImageOps.exif_transpose(picture).convert(mode)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture whose header says that it may be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as picture:
                _check_size(picture)
                yield picture
    except BadRequestError:
        raise
    except Image.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        raise UnreadablePictureError(f"The picture cannot be read: it is broken, or not what it says ({error}).") from (
            None
        )


def _check_size(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large()
    if getattr(picture, "n_frames", 1) > 1:
        raise UnreadablePictureError("The picture is an animation; send one frame.")


def _too_large() -> UnreadablePictureError:
    return UnreadablePictureError(f"The picture has more than {MAX_PIXELS} pixels.")
