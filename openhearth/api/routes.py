"""The table of contents: every router, in the order of the OpenAI reference, then our own."""

from openhearth.api import completions, health, models

ROUTERS = (
    completions.router,
    models.router,
    health.router,
)
