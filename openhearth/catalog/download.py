"""Fetching one file of known size and SHA-256: resumed where it stopped, and never accepted unless it matches."""

import hashlib
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2

from openhearth.catalog.progress import Report
from openhearth.errors import ConfigurationError

MAX_FRUITLESS_ATTEMPTS = 5


class Downloader:
    """Fetches files over HTTP; a file of this machine is used where it lies."""

    def __init__(self, client: httpx2.Client, *, retry_delay_seconds: float = 1.0) -> None:
        self._client = client
        self._retry_delay_seconds = retry_delay_seconds

    def fetch(self, url: str, part: Path, *, size_bytes: int, sha256: str, report: Report) -> Path:
        """Return a file with exactly the wanted content: `part`, which keeps what arrives from one run to the next.

        Raises `ConfigurationError` if the server refuses, if the line stays broken, or if the content is wrong; wrong
        content is removed.
        """
        if url.startswith("file:"):
            return _checked(Path(url2pathname(urlsplit(url).path)), sha256, url)
        resumed = part.exists()
        self._complete(url, part, size_bytes=size_bytes, report=report)
        try:
            return _checked(part, sha256, url)
        except ConfigurationError:
            part.unlink()
            if not resumed:
                raise
        # What an earlier run left may itself be the fault, so one fresh start is fair.
        return self.fetch(url, part, size_bytes=size_bytes, sha256=sha256, report=report)

    def _complete(self, url: str, part: Path, *, size_bytes: int, report: Report) -> None:
        furthest, fruitless = _size(part), 0
        while _size(part) < size_bytes:
            failure = self._attempt(url, part, report)
            fruitless = 0 if _size(part) > furthest else fruitless + 1
            furthest = max(furthest, _size(part))
            if fruitless == MAX_FRUITLESS_ATTEMPTS:
                raise ConfigurationError(
                    f"{url} cannot be fetched ({failure}); what arrived is kept, and the next attempt goes on there."
                )
            time.sleep(self._retry_delay_seconds * fruitless)

    def _attempt(self, url: str, part: Path, report: Report) -> str:
        """Fetch as much as the line gives; return what stopped it."""
        try:
            self._append(url, part, report)
        except httpx2.HTTPStatusError as error:
            if error.response.is_client_error:
                raise ConfigurationError(f"{url} answers {error.response.status_code}.") from error
            return f"the server answers {error.response.status_code}"
        except httpx2.TransportError as error:
            return str(error) or type(error).__name__
        return "the file ends too early"

    def _append(self, url: str, part: Path, report: Report) -> None:
        offset = _size(part)
        with self._client.stream("GET", url, headers=_headers(offset)) as response:
            response.raise_for_status()
            resumes = response.status_code == httpx2.codes.PARTIAL_CONTENT
            done = offset if resumes else 0
            with part.open("ab" if resumes else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    done += len(chunk)
                    report(done)


def _headers(offset: int) -> dict[str, str]:
    return {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _checked(file: Path, sha256: str, url: str) -> Path:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise ConfigurationError(f"{url} is not the file that was expected: its SHA-256 is {found}, not {sha256}.")
    return file
