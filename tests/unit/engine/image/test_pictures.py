"""Pictures as they are sent: read at bounded memory, refused by name."""

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from openhearth.engine.image.pictures import inspect_picture, read_picture, write_picture
from openhearth.errors import BadRequestError
from tests.pictures import decoded, encoded, noise, pixels_of, saved, with_hole


def png_claiming(width: int, height: int, *, rows: bytes = b"") -> bytes:
    """Return a PNG whose header claims a size, whatever follows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    """PNG, JPEG and WebP are recognised by their content."""
    path = saved(noise(30, 20), tmp_path / f"a.{suffix}")

    info = inspect_picture(path.rename(tmp_path / "upload"))

    assert (info.format, info.width, info.height) == (suffix, 30, 20)
    assert not info.has_alpha


@pytest.mark.parametrize("hole", [True, False])
def test_transparency_is_told(tmp_path: Path, hole: bool) -> None:
    """An alpha channel is told apart from transparent pixels."""
    picture = with_hole(noise(), left=0, top=0, right=int(hole), bottom=1)

    info = inspect_picture(saved(picture, tmp_path / "a.png"))

    assert info.has_alpha
    assert info.has_transparent_pixels == hole


def test_palettes_may_be_transparent(tmp_path: Path) -> None:
    """A transparent colour of a palette is transparency."""
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])

    info = inspect_picture(saved(picture, tmp_path / "a.png", transparency=0))

    assert info.has_transparent_pixels


def test_orientation_is_followed(tmp_path: Path) -> None:
    """A photograph that says it lies on its side is put upright."""
    exif = Image.Exif()
    exif[0x0112] = 6

    path = saved(noise(30, 20), tmp_path / "a.jpeg", exif=exif)

    assert inspect_picture(path).width == read_picture(path).width == 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        encoded(noise())[:-200],
        encoded(noise())[:100],
        encoded(noise(), "JPEG")[:200],
        encoded(noise(), "GIF"),
        encoded(noise(), "BMP"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        png_claiming(100, 100, rows=b"\x00"),
        png_claiming(0, 5),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    """Bytes that are no picture, are cut off or lie about themselves are refused."""
    (tmp_path / "upload").write_bytes(data)

    with pytest.raises(BadRequestError, match="picture"):
        inspect_picture(tmp_path / "upload")


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (25_000_001, 1)])
def test_bombs_are_refused_by_their_header(tmp_path: Path, size: tuple[int, int]) -> None:
    """A picture that claims more pixels than are decoded is refused before any is."""
    (tmp_path / "bomb.png").write_bytes(png_claiming(*size))

    with pytest.raises(BadRequestError):
        inspect_picture(tmp_path / "bomb.png")


def test_animations_are_refused(tmp_path: Path) -> None:
    """An animation is not one picture."""
    path = saved(noise(), tmp_path / "a.webp", save_all=True, append_images=[noise(seed=1)])

    with pytest.raises(BadRequestError, match="animation"):
        inspect_picture(path)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_writing(file_format: str) -> None:
    """Every format can be written and comes back as itself."""
    data = write_picture(noise(), file_format, compression=100)  # type: ignore[arg-type]

    assert (decoded(data).format or "").lower() == file_format


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_lossless(file_format: str) -> None:
    """PNG, and WebP at 100, keep every pixel and its transparency."""
    picture = with_hole(noise(), left=5, top=5, right=9, bottom=9)

    data = write_picture(picture, file_format, compression=100)  # type: ignore[arg-type]

    assert (pixels_of(decoded(data)) == pixels_of(picture))[20:].all()
    assert (pixels_of(decoded(data), "RGBA")[..., 3] == pixels_of(picture, "RGBA")[..., 3]).all()


@pytest.mark.parametrize("file_format", ["jpeg", "webp"])
def test_compression(file_format: str) -> None:
    """A lower compression setting gives a smaller file."""
    sizes = [len(write_picture(noise(), file_format, compression=level)) for level in (0, 50, 100)]  # type: ignore[arg-type]

    assert sizes == sorted(set(sizes))
