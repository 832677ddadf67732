"""Forms with pictures in them: kept in an inbox as they arrive, under whichever name a client gives to each."""

import re
from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import Request

from openhearth.api.multipart import MultipartForm
from openhearth.api.multipart_stream import MultipartStream, Part
from openhearth.errors import BadRequestError, InvalidValueError
from openhearth.schemas.images import MAX_EDITED_IMAGES
from openhearth.schemas.shared import RequestModel
from openhearth.schemas.validation import bad_request
from openhearth.services.image_inputs import Inbox, Picture

R = TypeVar("R", bound=RequestModel)

_PICTURE = re.compile(r"(image|mask)(?:\[\d{0,3}\])?")  # image, image[] of Python, image[0] of Ruby


class ImageForm(MultipartForm):
    """One form. `receive` it; then `images`, `mask` and `fields` are complete."""

    def __init__(self, request: Request, inbox: Inbox, *, kind: type[R]) -> None:
        stream = MultipartStream(request.headers.get("content-type", ""), request.stream())
        super().__init__(stream, file_field="image", fields=kind.model_fields)
        self._inbox = inbox
        self.images: list[Picture] = []
        self.mask: Picture | None = None

    async def receive(self) -> None:
        """Read the form to its end. Raises `BadRequestError` for whatever is wrong with it."""
        while (part := await self._stream.next_part()) is not None:
            match = _PICTURE.fullmatch(part.name)
            if match is None:
                await self._read_field(part)
            else:
                self._keep(match[1], await self._picture(match[1], part))

    def request(self, kind: type[R]) -> R:
        """Return what the fields say, numbers and booleans read from their text. Raises `BadRequestError`."""
        try:
            return kind.model_validate_strings(self.fields)
        except ValidationError as error:
            raise bad_request(error.errors()) from None

    async def _picture(self, param: str, part: Part) -> Picture:
        if part.filename is None:
            raise BadRequestError(
                f"Invalid type for '{param}': expected a file, but got a string instead.",
                param=param,
                code="invalid_type",
            )
        return await self._inbox.receive(self._stream.content(), param=param)

    def _keep(self, param: str, picture: Picture) -> None:
        if param == "image":
            self.images.append(picture)
        elif self.mask is not None:
            raise InvalidValueError("Invalid 'mask': sent more than once.", param="mask")
        else:
            self.mask = picture
        if len(self.images) > MAX_EDITED_IMAGES:
            raise BadRequestError(
                f"Invalid 'image': array too long. Expected an array with maximum length {MAX_EDITED_IMAGES}, but got "
                "a longer one instead.",
                param="image",
                code="array_above_max_length",
            )
