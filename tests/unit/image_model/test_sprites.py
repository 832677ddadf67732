"""Sprites are made of pictures."""

from PIL import Image

from image_model.sprites import fitted


def test_the_empty_rim_goes() -> None:
    """What is drawn touches the edges of its longer side, in the middle of the other."""
    picture = Image.new("RGBA", (100, 100))
    picture.paste("red", (10, 40, 90, 80))

    sprite = fitted(picture, 64)

    assert sprite.size == (64, 64)
    assert sprite.getchannel("A").point(lambda alpha: 255 * (alpha > 128)).getbbox() == (0, 16, 64, 48)
