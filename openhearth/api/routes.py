"""The table of contents: every router, in the order of the OpenAI reference, then our own."""

import re

from openhearth.api import (
    chat_completions,
    completions,
    embeddings,
    files,
    fine_tuning,
    health,
    images,
    models,
    uploads,
)

ROUTERS = (
    chat_completions.router,
    completions.router,
    embeddings.router,
    images.router,
    files.router,
    uploads.router,
    fine_tuning.router,
    models.router,
    health.router,
)

FILE_PATHS = re.compile(r"/v1/files|/v1/uploads/[^/]+/parts|/v1/images/(?:edits|variations)")
"""The routes that take files, whose limits are not those of other bodies."""
