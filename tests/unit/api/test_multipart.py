"""Forms with one file in them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from openhearth.api.multipart import MultipartForm
from openhearth.api.multipart_stream import MultipartStream
from openhearth.errors import BadRequestError

FORM = "multipart/form-data; boundary=xx"
PURPOSE = b'Content-Disposition: form-data; name="purpose"'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain'


def body_of(*parts: tuple[bytes, bytes]) -> bytes:
    """Return a body of parts, each a block of headers and a content."""
    return b"".join(b"--xx\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + b"--xx--\r\n"


async def read(body: bytes, *, chunk_bytes: int = 65_536, content_type: str = FORM) -> tuple[MultipartForm, bytes]:
    """Read a form to its end and return it with the content of its file."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk_bytes):
            yield body[start : start + chunk_bytes]

    stream = MultipartStream(content_type, chunks())
    form = MultipartForm(stream, file_field="file", fields=("purpose", "expires_after"))
    return form, b"".join([chunk async for chunk in form.content()])


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 65_536])
@pytest.mark.parametrize("content", [b"", b"hello", b"\r\n--x\r\n--xy--\r", bytes(range(256)) * 5])
async def test_fields_may_stand_before_and_behind_the_file(content: bytes, chunk_bytes: int) -> None:
    """The file and all fields are read, wherever the fields stand and however the body is cut."""
    body = body_of(
        (PURPOSE, b"batch"),
        (FILE, content),
        (b'Content-Disposition: form-data; name="expires_after[anchor]"', b"created_at"),
        (b'content-disposition: form-data; name="expires_after[seconds]"', b"3600"),
    )

    form, found = await read(body, chunk_bytes=chunk_bytes)

    assert found == content
    assert form.filename == "a.txt"
    assert form.fields == {"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": "3600"}}


@pytest.mark.parametrize(
    ("sent", "filename"),
    [
        ('filename="ä ö.txt"'.encode(), "ä ö.txt"),
        (b'filename="a\xff.txt"', "a\ufffd.txt"),
        (b'filename="..\\\\..\\"x"', '..\\.."x'),
        (b"filename=plain", "plain"),
        (b'filename="../../etc/passwd"', "../../etc/passwd"),
    ],
)
async def test_a_filename_is_a_label(sent: bytes, filename: str) -> None:
    """A filename is taken as it is, in UTF-8; bytes that are none are replaced."""
    form, _ = await read(body_of((b'Content-Disposition: form-data; name="file"; ' + sent, b"x")))

    assert form.filename == filename


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ([(PURPOSE, b"batch")], "file", "missing_required_parameter"),
        ([(FILE, b"x"), (FILE, b"y")], "file", "invalid_value"),
        ([(PURPOSE, b"batch"), (FILE, b"x"), (PURPOSE, b"batch")], "purpose", "invalid_value"),
        ([(b'Content-Disposition: form-data; name="colour"', b"red")], "colour", "unknown_parameter"),
        ([(FILE, b"x"), (b'Content-Disposition: form-data; name="colour"', b"r")], "colour", "unknown_parameter"),
        ([(b'Content-Disposition: form-data; name="purpose[a][b]"', b"r")], "purpose[a][b]", "unknown_parameter"),
        ([(b'Content-Disposition: form-data; name=""', b"r")], "", "unknown_parameter"),
        ([(b'Content-Disposition: form-data; name="file"', b"x")], "file", "invalid_type"),
        ([(b'Content-Disposition: form-data; name="file"; filename=""', b"x")], "file", "invalid_type"),
        ([(b'Content-Disposition: form-data; name="purpose"; filename="p"', b"x")], "purpose", "invalid_type"),
        ([(PURPOSE, b"x" * 70_000)], "purpose", "invalid_value"),
        ([(PURPOSE, b"\xff\xfe")], "purpose", "invalid_value"),
        (
            [(PURPOSE, b"batch"), (b'Content-Disposition: form-data; name="purpose[x]"', b"y")],
            "purpose",
            "invalid_value",
        ),
        (
            [(b'Content-Disposition: form-data; name="purpose[x]"', b"y"), (PURPOSE, b"batch")],
            "purpose",
            "invalid_value",
        ),
    ],
)
async def test_a_wrong_field_is_named(parts: Any, param: str, code: str) -> None:
    """What is missing, unknown, sent twice, too long or of the wrong kind is refused by its name."""
    with pytest.raises(BadRequestError) as caught:
        await read(body_of(*parts))

    assert (caught.value.param, caught.value.code) == (param, code)


async def test_there_is_a_largest_number_of_fields() -> None:
    """Members of an object without end are refused."""
    parts = [(b'Content-Disposition: form-data; name="expires_after[%d]"' % number, b"x") for number in range(33)]

    with pytest.raises(BadRequestError, match="more than 32 fields"):
        await read(body_of(*parts))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--xx",
        b"--xx\r\n",
        b"--yy\r\n" + FILE + b"\r\n\r\nx\r\n--yy--\r\n",
        b"--xx\r\n" + FILE + b"\r\n\r\nthe rest never came",
        b"--xx\r\n" + FILE + b"\r\n\r\nx\r\n--xx\r\n",
        b"--xx\r\nno colon\r\n\r\nx\r\n--xx--\r\n",
        b"--xx\r\n\r\nx\r\n--xx--\r\n",
        b'--xx\r\nContent-Disposition: attachment; filename="x"\r\n\r\nx\r\n--xx--\r\n',
        b"--xx\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xx--\r\n",
        b"--xx\r\n" + FILE + b"\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--xx--\r\n",
        b"--xx\r\nX: " + b"x" * 9000 + b"\r\n\r\nx\r\n--xx--\r\n",
        b"--xx\r\n" + b"X: x\r\n" * 17 + b"\r\nx\r\n--xx--\r\n",
    ],
)
async def test_a_broken_body_is_refused(body: bytes) -> None:
    """A body that breaks off, or is not made of parts with names, is refused, and headers without end are."""
    with pytest.raises(BadRequestError, match=r"multipart body|Content-Transfer-Encoding"):
        await read(body)


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/mixed; boundary=xx", "multipart/form-data", f"{FORM}{'x' * 70}"],
)
async def test_another_content_type_is_refused(content_type: str) -> None:
    """A body that does not call itself a form with a boundary is refused."""
    with pytest.raises(BadRequestError, match="multipart/form-data"):
        await read(b"{}", content_type=content_type)


async def test_a_quoted_boundary() -> None:
    """The boundary may stand in quotes, and other parameters beside it."""
    form, found = await read(body_of((FILE, b"x")), content_type='Multipart/Form-Data; charset=utf-8; boundary="xx"')

    assert (form.filename, found) == ("a.txt", b"x")
