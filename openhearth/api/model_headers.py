"""What the headers of an answer say of the model that gave it."""

import string
from urllib.parse import quote

_SAFE = string.punctuation + " "


def model_headers(model: str) -> dict[str, str]:
    """Return the headers. What is not ASCII in the model's name is percent-encoded: headers have no other letters."""
    return {"cache-control": "no-cache, must-revalidate", "openai-model": quote(model, safe=_SAFE)}
