"""Pictures that a request only refers to: data URLs, files of the project, and what is on the web."""

from openhearth.errors import InvalidValueError
from openhearth.schemas.images import EditImageBodyJsonParam, ImageRefParam
from openhearth.services.files import Files
from openhearth.services.image_inputs import Inbox, Picture, data_url_content
from openhearth.services.web_pictures import WebPictures


class ImageReferences:
    """Fetches what a request refers to."""

    def __init__(self, files: Files, web: WebPictures) -> None:
        self._files = files
        self._web = web

    async def receive(
        self, project: str, request: EditImageBodyJsonParam, inbox: Inbox
    ) -> tuple[list[Picture], Picture | None]:
        """Take in the pictures and the mask of a request. Raises `BadRequestError` and `NotFoundError`."""
        images = [
            await self._receive(project, reference, inbox, param=f"images[{number}]")
            for number, reference in enumerate(request.images)
        ]
        if request.mask is None:
            return images, None
        return images, await self._receive(project, request.mask, inbox, param="mask")

    async def _receive(self, project: str, reference: ImageRefParam, inbox: Inbox, *, param: str) -> Picture:
        if (reference.image_url is None) == (reference.file_id is None):
            raise InvalidValueError(f"Invalid '{param}': give either 'image_url' or 'file_id'.", param=param)
        if reference.file_id is not None:
            content = await self._files.content(project, reference.file_id)
            reader = await content.open()
            try:
                return await inbox.receive(reader, param=param)
            finally:
                await reader.aclose()
        assert reference.image_url is not None
        read = data_url_content if reference.image_url.startswith("data:") else self._web.content
        return await inbox.receive(read(reference.image_url, param=f"{param}.image_url"), param=param)
