"""What each purpose asks of a file: of its name and its MIME type, and of its content (contract: files, uploads).

Content tells what it is; a name without an extension is no obstacle, because clients call what has no name `upload`.
"""

import asyncio
import codecs
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing

from openhearth.errors import BadRequestError, InvalidValueError, RequestTooLargeError
from openhearth.schemas.files import FilePurpose
from openhearth.services.api_keys import DEFAULT_PROJECT
from openhearth.services.jsonl import check_jsonl
from openhearth.services.model_host import ModelHost
from openhearth.store.blobs.base import BlobReader

MAX_BATCH_FILE_BYTES = 200 * 2**20
MAX_DOCUMENT_TOKENS = 2_000_000
_CHARACTERS_AT_ONCE = 64 * 2**10
_OFFICE = "application/vnd.openxmlformats-officedocument"
_JSONL_TYPES = (
    "application/json",
    "application/jsonl",
    "application/jsonlines",
    "application/ndjson",
    "application/x-jsonlines",
    "application/x-ndjson",
    "text/jsonl",
    "text/plain",
)
_PICTURE_TYPES = ("image/gif", "image/jpeg", "image/png", "image/webp")
_DOCUMENT_TYPES = {
    "c": ("text/x-c",),
    "cpp": ("text/x-c++",),
    "cs": ("text/x-csharp",),
    "css": ("text/css",),
    "csv": ("text/csv", "application/csv"),
    "doc": ("application/msword",),
    "docx": (f"{_OFFICE}.wordprocessingml.document",),
    "gif": ("image/gif",),
    "go": ("text/x-golang",),
    "html": ("text/html",),
    "java": ("text/x-java",),
    "jpeg": ("image/jpeg",),
    "jpg": ("image/jpeg",),
    "js": ("text/javascript",),
    "json": ("application/json",),
    "md": ("text/markdown",),
    "pdf": ("application/pdf",),
    "php": ("text/x-php",),
    "pkl": ("application/octet-stream",),
    "png": ("image/png",),
    "pptx": (f"{_OFFICE}.presentationml.presentation",),
    "py": ("text/x-python", "text/x-script.python"),
    "rb": ("text/x-ruby",),
    "sh": ("application/x-sh",),
    "tar": ("application/x-tar",),
    "tex": ("text/x-tex",),
    "ts": ("application/typescript",),
    "txt": ("text/plain",),
    "webp": ("image/webp",),
    "xlsx": (f"{_OFFICE}.spreadsheetml.sheet",),
    "xml": ("application/xml", "text/xml"),
    "zip": ("application/zip",),
}
"""The formats of documents, as the service names them when it refuses another."""

_TYPES: dict[str, tuple[str, ...]] = {
    "batch": _JSONL_TYPES,
    "fine-tune": _JSONL_TYPES,
    "vision": _PICTURE_TYPES,
    "assistants": tuple(dict.fromkeys(kind for kinds in _DOCUMENT_TYPES.values() for kind in kinds)),
}
_ZIP = rb"PK(?:\x03\x04|\x05\x06)"
_SIGNATURES = {
    "doc": rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1|\{\\rtf",
    "docx": _ZIP,
    "gif": rb"GIF8[79]a",
    "jpeg": rb"\xff\xd8\xff",
    "jpg": rb"\xff\xd8\xff",
    "pdf": rb".{0,1019}%PDF-",
    "png": rb"\x89PNG\r\n\x1a\n",
    "pptx": _ZIP,
    "webp": rb"RIFF.{4}WEBP",
    "xlsx": _ZIP,
    "zip": _ZIP,
}
_PICTURES = ("gif", "jpeg", "png", "webp")
_OPAQUE = ("pkl", "tar")
"""Formats that have no sure sign."""

CountTokens = Callable[[str], Awaitable[int]]


class FileFormats:
    """Checks the content of files. `count_tokens` counts those of a text, which is short."""

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count_tokens = count_tokens

    async def check(self, purpose: FilePurpose, reader: BlobReader, *, filename: str, num_bytes: int) -> None:
        """Read as much of the content as the purpose asks for. Raises `BadRequestError`."""
        match purpose:
            case "fine-tune":
                await check_jsonl(reader)
            case "vision":
                async with aclosing(_pieces(reader)) as pieces:
                    _check_picture(await anext(pieces, b""))
            case "assistants":
                await self._check_document(reader, extension=_extension(filename), num_bytes=num_bytes)

    async def _check_document(self, reader: BlobReader, *, extension: str, num_bytes: int) -> None:
        async with aclosing(_pieces(reader)) as pieces:
            head = await anext(pieces, b"")
            if _is_binary(head, extension):
                return
            num_tokens = 0
            async for text in _text(head, pieces):
                if num_bytes > MAX_DOCUMENT_TOKENS:  # a token has one byte at least
                    num_tokens += await self._count_tokens(text)
                _check_num_tokens(num_tokens)


async def count_tokens(host: ModelHost, model: str, text: str) -> int:
    """Return how many tokens a text has for a model."""
    loaded = await host.get(model, project=DEFAULT_PROJECT)
    return len(await loaded.engine.encode(text))


def check_mime_type(purpose: FilePurpose, mime_type: str) -> None:
    """Raise `BadRequestError` if files of this type are no use for the purpose."""
    allowed = _TYPES.get(purpose)
    if allowed is not None and mime_type.partition(";")[0].strip().lower() not in allowed:
        raise InvalidValueError(
            f"Invalid 'mime_type': '{mime_type}' does not suit the purpose '{purpose}'. Supported values are: "
            f"{', '.join(allowed)}.",
            param="mime_type",
        )


def check_claims(purpose: FilePurpose, *, filename: str, num_bytes: int) -> None:
    """Check what can be told without the content. Raises `BadRequestError` or `RequestTooLargeError`."""
    extension = _extension(filename)
    if purpose == "assistants" and extension and extension not in _DOCUMENT_TYPES:
        supported = ", ".join(f'"{known}"' for known in _DOCUMENT_TYPES)
        raise BadRequestError(f"Invalid extension {extension}. Supported formats: {supported}", param="file")
    if purpose != "batch":
        return
    if extension != "jsonl":
        raise BadRequestError("Invalid file format for Batch API. Must be .jsonl", param="file")
    if num_bytes > MAX_BATCH_FILE_BYTES:
        raise RequestTooLargeError(f"A file for the Batch API may have {MAX_BATCH_FILE_BYTES} bytes at most.")


def _extension(filename: str) -> str:
    """Return what stands behind the last dot, in small letters; nothing if there is no dot."""
    return filename.rpartition(".")[2].lower() if "." in filename else ""


async def _pieces(reader: BlobReader) -> AsyncGenerator[bytes]:
    async for piece in reader:
        yield piece


def _check_picture(head: bytes) -> None:
    if not any(_has_signature(head, name) for name in _PICTURES):
        raise BadRequestError("Invalid file format for vision. Must be a PNG, JPEG, GIF or WebP picture.", param="file")


def _is_binary(head: bytes, extension: str) -> bool:
    """Return whether a document is in a format other than text. Raises `BadRequestError` if it only claims to be."""
    if not extension:
        return any(_has_signature(head, name) for name in _SIGNATURES)
    if extension in _SIGNATURES and not _has_signature(head, extension):
        raise BadRequestError(f"The file is called .{extension}, but its content is something else.", param="file")
    return extension in _SIGNATURES or extension in _OPAQUE


def _has_signature(head: bytes, name: str) -> bool:
    return re.match(_SIGNATURES[name], head, re.DOTALL) is not None


async def _text(head: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield a text in short parts that end where a word does. Raises `BadRequestError` if it is none."""
    is_utf_16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if is_utf_16 else "utf-8-sig")()
    unfinished = await asyncio.to_thread(_decoded, decoder, head)
    async for piece in pieces:
        *parts, unfinished = _parts(unfinished + await asyncio.to_thread(_decoded, decoder, piece))
        for part in parts:
            yield part
    for part in _parts(unfinished + _decoded(decoder, b"", is_end=True)):
        yield part


def _decoded(decoder: codecs.IncrementalDecoder, piece: bytes, *, is_end: bool = False) -> str:
    try:
        text = decoder.decode(piece, is_end)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise BadRequestError(
            "The file is not text in UTF-8, UTF-16 or ASCII. If it is another format, send it under a name with the "
            "extension of that format.",
            param="file",
        )
    return text


def _parts(text: str) -> Iterator[str]:
    """Cut a text before white space, as near to `_CHARACTERS_AT_ONCE` as that is possible; the last part is shorter."""
    start = 0
    while len(text) - start > _CHARACTERS_AT_ONCE:
        stop = start + _CHARACTERS_AT_ONCE
        word = max(text.rfind(" ", start + 1, stop), text.rfind("\n", start + 1, stop))
        stop = word if word > start else stop
        yield text[start:stop]
        start = stop
    yield text[start:]


def _check_num_tokens(num_tokens: int) -> None:
    if num_tokens > MAX_DOCUMENT_TOKENS:
        raise BadRequestError(
            f"A file of purpose 'assistants' may have {MAX_DOCUMENT_TOKENS} tokens at most. Split it, or send it for "
            "another purpose.",
            param="file",
        )
