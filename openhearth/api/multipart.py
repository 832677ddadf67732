"""Forms with one file in them, read as they arrive: the file is passed on, only the fields are kept.

Fields may stand before and behind the file; their names may have brackets, as in `expires_after[seconds]`. What the
fields mean is left to the caller.
"""

import re
from collections.abc import AsyncIterator, Collection
from typing import Any

from openhearth.api.multipart_stream import MultipartStream, Part
from openhearth.errors import BadRequestError, InvalidValueError, MissingRequiredParameterError, UnknownParameterError

_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 64 * 2**10
_FIELD_NAME = re.compile(r"([^\[\]]+)(?:\[([^\[\]]+)\])?")


class MultipartForm:
    """One form. Iterate `content` to its end; then `filename` and `fields` are complete."""

    def __init__(self, stream: MultipartStream, *, file_field: str, fields: Collection[str] = ()) -> None:
        """Take `file_field` for the file, and `fields` for the names of the other fields, without brackets."""
        self._stream = stream
        self._file_field = file_field
        self._field_names = fields
        self._num_fields = 0
        self.filename: str | None = None
        self.fields: dict[str, Any] = {}

    async def content(self) -> AsyncIterator[bytes]:
        """Return the content of the file, and read the fields around it.

        Raises `BadRequestError` for whatever is wrong with the form, anywhere in it.
        """
        while (part := await self._stream.next_part()) is not None:
            if part.name != self._file_field:
                await self._read_field(part)
                continue
            self._begin_file(part)
            async for chunk in self._stream.content():
                yield chunk
        if self.filename is None:
            raise MissingRequiredParameterError(self._file_field)

    def _begin_file(self, part: Part) -> None:
        if self.filename is not None:
            raise _sent_twice(part.name)
        if not part.filename:
            raise _wrong_type(part.name, expected="a file with a filename", got="a string")
        self.filename = part.filename

    async def _read_field(self, part: Part) -> None:
        match = _FIELD_NAME.fullmatch(part.name)
        if match is None or match[1] not in self._field_names:
            raise UnknownParameterError(part.name)
        if part.filename is not None:
            raise _wrong_type(part.name, expected="a string", got="a file")
        self._num_fields += 1
        if self._num_fields > _MAX_FIELDS:
            raise BadRequestError(f"The form has more than {_MAX_FIELDS} fields.")
        name, member = match.groups()
        self._set(name, member, await self._read_text(part.name))

    async def _read_text(self, name: str) -> str:
        value = bytearray()
        async for chunk in self._stream.content():
            value += chunk
            if len(value) > _MAX_FIELD_BYTES:
                raise InvalidValueError(f"Invalid '{name}': longer than {_MAX_FIELD_BYTES} bytes.", param=name)
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidValueError(f"Invalid '{name}': not UTF-8.", param=name) from None

    def _set(self, name: str, member: str | None, value: str) -> None:
        """Keep `name=value`, or `name[member]=value` as a member of the object `name`."""
        owner, key = (self.fields, name) if member is None else (self.fields.setdefault(name, {}), member)
        if not isinstance(owner, dict) or key in owner:
            raise _sent_twice(name)
        owner[key] = value


def _sent_twice(name: str) -> InvalidValueError:
    return InvalidValueError(f"Invalid '{name}': sent more than once.", param=name)


def _wrong_type(name: str, *, expected: str, got: str) -> BadRequestError:
    return BadRequestError(
        f"Invalid type for '{name}': expected {expected}, but got {got} instead.", param=name, code="invalid_type"
    )
