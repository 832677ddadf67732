"""Links to images: signed, and gone after an hour."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from openhearth.errors import NotFoundError
from openhearth.home import secret_of
from openhearth.services.image_links import LIFETIME_SECONDS, ImageLinks
from openhearth.store.blobs.memory import MemoryBlobStore
from tests.storage import StoppedClock

DATA = b"a picture"


def parts_of(path: str) -> tuple[str, str]:
    """Return name and signature of a link."""
    url = urlsplit(path)
    return url.path.removeprefix("/images/"), parse_qs(url.query)["signature"][0]


async def follow(links: ImageLinks, path: str) -> bytes:
    """Return what a link leads to."""
    name, signature = parts_of(path)
    image = await links.open(name, signature=signature)
    content = b"".join([piece async for piece in image.reader])
    await image.reader.aclose()
    assert image.bytes == len(content)
    return content


@pytest.fixture
def clock() -> StoppedClock:
    """Give a clock that the test moves."""
    return StoppedClock()


@pytest.fixture
def links(clock: StoppedClock) -> ImageLinks:
    """Give links over a store in memory."""
    return ImageLinks(MemoryBlobStore(), secret=b"secret", now=clock)


async def test_a_link_leads_to_its_image(links: ImageLinks) -> None:
    """What was published is what is found, in its format, for the whole of its time."""
    path = await links.publish(DATA, "webp")
    name, signature = parts_of(path)

    image = await links.open(name, signature=signature)

    assert await follow(links, path) == DATA
    assert (image.format, image.seconds_left) == ("webp", LIFETIME_SECONDS - 1)


@pytest.mark.parametrize(("age_seconds", "is_alive"), [(LIFETIME_SECONDS - 2, True), (LIFETIME_SECONDS, False)])
async def test_a_link_lives_for_an_hour(
    links: ImageLinks, clock: StoppedClock, age_seconds: int, is_alive: bool
) -> None:
    """A link serves for sixty minutes, and leads nowhere after them, even before the image is removed."""
    path = await links.publish(DATA, "png")
    clock.time += age_seconds

    if is_alive:
        assert await follow(links, path) == DATA
    else:
        with pytest.raises(NotFoundError):
            await follow(links, path)


async def test_expired_images_are_removed(links: ImageLinks, clock: StoppedClock) -> None:
    """Housekeeping removes images whose hour is over, and no others."""
    await links.publish(DATA, "png")
    clock.time += LIFETIME_SECONDS / 2
    later = await links.publish(DATA, "png")
    clock.time += LIFETIME_SECONDS / 2

    assert (await links.expire(), await links.expire()) == (1, 0)
    assert await follow(links, later) == DATA


async def test_names_cannot_be_made_up(links: ImageLinks, clock: StoppedClock) -> None:
    """Neither a longer life nor another server's signature opens anything."""
    name, signature = parts_of(await links.publish(DATA, "png"))
    longer = name.replace(str(int(clock.time) + LIFETIME_SECONDS), "999999999999")
    stranger = ImageLinks(MemoryBlobStore(), secret=b"another", now=clock)

    for wrong_name, wrong_signature in (
        (longer, signature),
        (name, parts_of(await stranger.publish(DATA, "png"))[1]),
        (name, ""),
        (name, "ä"),
        ("../secret", signature),
    ):
        with pytest.raises(NotFoundError):
            await links.open(wrong_name, signature=wrong_signature)


async def test_an_image_that_is_gone(links: ImageLinks, clock: StoppedClock) -> None:
    """A good link whose image somebody removed is a link to nothing."""
    path = await links.publish(DATA, "png")
    other = ImageLinks(MemoryBlobStore(), secret=b"secret", now=clock)

    with pytest.raises(NotFoundError):
        await follow(other, path)


def test_secrets_stay(tmp_path: Path) -> None:
    """A home keeps its secret, for itself alone, so that links outlive a restart."""
    secret = secret_of(tmp_path, "image-links")

    assert len(secret) == 32
    assert secret_of(tmp_path, "image-links") == secret
    assert (tmp_path / "image-links.secret").stat().st_mode & 0o777 == 0o600
