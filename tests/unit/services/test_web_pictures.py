"""Pictures on the web, and the networks that are none of a stranger's business."""

import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest

from openhearth.errors import InvalidValueError
from openhearth.services.web_pictures import IPAddress, WebPictures, is_public

PARAM = "images[0].image_url"


class Site(BaseHTTPRequestHandler):
    """A site with one picture, one address that leads away, and the last Host it was asked for."""

    last_host: str | None = None

    def do_GET(self) -> None:
        """Answer."""
        type(self).last_host = self.headers["host"]
        self.send_response({"/picture": 200, "/elsewhere": 302}.get(self.path, 404))
        self.send_header("location", "http://127.0.0.1/")
        self.end_headers()
        self.wfile.write(b"a picture")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Run the site, and give its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


async def resolve_to_here(_host: str, _port: int) -> Sequence[IPAddress]:
    """Return this machine for every name."""
    return [ip_address("127.0.0.1")]


async def fetch(pictures: WebPictures, url: str) -> bytes:
    """Return what is fetched."""
    return b"".join([chunk async for chunk in pictures.content(url, param=PARAM)])


async def test_a_picture_is_fetched_from_the_address_that_was_judged(port: int) -> None:
    """The connection goes to the number that was looked up, and asks there for the name."""
    pictures = WebPictures(is_enabled=True, resolve=resolve_to_here, is_allowed=lambda _address: True)

    assert await fetch(pictures, f"http://pictures.example:{port}/picture") == b"a picture"
    assert Site.last_host == f"pictures.example:{port}"


@pytest.mark.parametrize("path", ["elsewhere", "nowhere"])
async def test_only_a_picture_will_do(port: int, path: str) -> None:
    """Redirects are not followed, and errors are no pictures."""
    pictures = WebPictures(is_enabled=True, resolve=resolve_to_here, is_allowed=lambda _address: True)

    with pytest.raises(InvalidValueError, match="the answer was"):
        await fetch(pictures, f"http://pictures.example:{port}/{path}")


async def test_nothing_is_fetched_unless_the_operator_wants_it() -> None:
    """A server that was not told to fetch refuses by the parameter's name."""
    with pytest.raises(InvalidValueError, match="does not fetch") as caught:
        await fetch(WebPictures(is_enabled=False), "https://example.com/a.png")

    assert caught.value.param == PARAM


async def test_names_of_private_addresses(port: int) -> None:
    """A public name for a private address, or for both kinds at once, is refused without a connection."""
    Site.last_host = None

    async def resolve_to_both(_host: str, _port: int) -> Sequence[IPAddress]:
        return [ip_address("8.8.8.8"), ip_address("127.0.0.1")]

    for resolve in (resolve_to_here, resolve_to_both):
        with pytest.raises(InvalidValueError, match="public"):
            await fetch(WebPictures(is_enabled=True, resolve=resolve), f"http://pictures.example:{port}/picture")
    assert Site.last_host is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "http:///a.png",
        "http://user:password@example.com/a.png",
        "http://[::1/a.png",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://localhost/",
        "http://0/",
        "http://2130706433/",
        "nonsense",
    ],
)
async def test_addresses_that_are_refused(url: str) -> None:
    """What is no plain address of the web, or one of this machine however it is written, is refused."""
    with pytest.raises(InvalidValueError) as caught:
        await fetch(WebPictures(is_enabled=True), url)

    assert caught.value.param == PARAM


async def test_a_site_that_does_not_answer() -> None:
    """A connection that fails is the request's error."""
    pictures = WebPictures(is_enabled=True, resolve=resolve_to_here, is_allowed=lambda _address: True)

    with pytest.raises(InvalidValueError, match="connection failed"):
        await fetch(pictures, "http://pictures.example:1/picture")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("ff0e::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    """Private, local and shared networks are not public, in whatever clothes they come."""
    assert is_public(ip_address(address)) == expected
