"""Pictures on the web, fetched for a request: from public addresses only, and only if the operator wants it.

A server that fetches what strangers name can be turned against its own network, so the address that is judged is the
address that is connected to: a name is looked up once, every answer has to be public, and redirects are not followed.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx2

from openhearth.errors import InvalidValueError

IPAddress = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[IPAddress]]]

_TIMEOUT_SECONDS = 20.0
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


async def resolve_by_system(host: str, port: int) -> Sequence[IPAddress]:
    """Return the addresses of a host, as the system finds them. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(address[0]) for *_, address in found]


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the internet's own, and does not stand for one that is not."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner is not None or any(address in network for network in _NAT64):
            return False
    return address.is_global and not address.is_multicast


class WebPictures:
    """Fetches pictures. `resolve` and `is_allowed` decide on where to."""

    def __init__(
        self,
        *,
        is_enabled: bool,
        resolve: Resolve = resolve_by_system,
        is_allowed: Callable[[IPAddress], bool] = is_public,
    ) -> None:
        self._is_enabled = is_enabled
        self._resolve = resolve
        self._is_allowed = is_allowed

    async def content(self, url: str, *, param: str) -> AsyncIterator[bytes]:
        """Return the content behind a URL. Raises `InvalidValueError` if it may not or cannot be fetched."""
        if not self._is_enabled:
            raise InvalidValueError(
                f"Invalid '{param}': this server does not fetch pictures from the web. Send the picture as a data URL, "
                "or upload it and send its file_id.",
                param=param,
            )
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                request = await self._request(url, param)
                async for chunk in _answer(request, param):
                    yield chunk
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            raise _not_fetched(param, f"the connection failed ({type(error).__name__})") from error

    async def _request(self, url: str, param: str) -> httpx2.Request:
        """Return the request for a URL, addressed to the number that was judged."""
        target = httpx2.URL(url)
        if target.scheme not in ("http", "https") or not target.host or target.userinfo:
            raise _not_fetched(param, "it is not a plain http or https address")
        port = target.port or {"http": 80, "https": 443}[target.scheme]
        addresses = await self._resolve(target.host, port)
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise _not_fetched(param, "its host is not on the public internet")
        return httpx2.Request(
            "GET",
            target.copy_with(host=str(addresses[0])),
            headers={"host": target.netloc.decode("ascii"), "accept": "image/*", "accept-encoding": "identity"},
            extensions={"sni_hostname": target.host},
        )


async def _answer(request: httpx2.Request, param: str) -> AsyncIterator[bytes]:
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=_TIMEOUT_SECONDS) as client:
        response = await client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise _not_fetched(param, f"the answer was {response.status_code}")
            async for chunk in response.aiter_raw():
                yield chunk
        finally:
            await response.aclose()


def _not_fetched(param: str, reason: str) -> InvalidValueError:
    return InvalidValueError(f"Invalid '{param}': the picture could not be fetched: {reason}.", param=param)
