"""A component that stands for those of the package: it loads as its base class does, and can be told from it."""

from diffusers import AutoencoderKL, ModelMixin

__all__ = ["ModelMixin", "OwnAutoencoder"]  # diffusers looks the base class up here


class OwnAutoencoder(AutoencoderKL):  # type: ignore[misc]  # it has no types
    """An autoencoder."""
