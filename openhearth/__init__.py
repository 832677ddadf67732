"""openhearth: the OpenAI platform API, complete, on hardware you own."""

__version__ = "0.1.0"
