"""Prefixed random identifiers, in the shapes the OpenAI service uses (contract: conventions, section 8)."""

import secrets
import string

_BASE62 = string.ascii_letters + string.digits


def _base62(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def completion_id() -> str:
    """Return a new `cmpl-…` id."""
    return f"cmpl-{_base62(29)}"


def chat_completion_id() -> str:
    """Return a new `chatcmpl-…` id."""
    return f"chatcmpl-{_base62(29)}"


def tool_call_id() -> str:
    """Return a new `call_…` id."""
    return f"call_{_base62(24)}"


def file_id() -> str:
    """Return a new `file-…` id."""
    return f"file-{_base62(22)}"


def upload_id() -> str:
    """Return a new `upload_…` id."""
    return f"upload_{_base62(24)}"


def upload_part_id() -> str:
    """Return a new `part_…` id."""
    return f"part_{_base62(24)}"


def fine_tuning_job_id() -> str:
    """Return a new `ftjob-…` id."""
    return f"ftjob-{_base62(24)}"


def fine_tuning_event_id() -> str:
    """Return a new `ftevent-…` id."""
    return f"ftevent-{_base62(24)}"


def checkpoint_id() -> str:
    """Return a new `ftckpt_…` id."""
    return f"ftckpt_{_base62(24)}"


def checkpoint_permission_id() -> str:
    """Return a new `cp_…` id."""
    return f"cp_{_base62(24)}"


def tuned_model_suffix() -> str:
    """Return the last part of a new tuned model's name."""
    return _base62(8)


def job_id() -> str:
    """Return a new `job_…` id."""
    return f"job_{_base62(24)}"


def api_key_id() -> str:
    """Return a new `key_…` id."""
    return f"key_{_base62(24)}"


def api_key_secret() -> str:
    """Return a new secret, `sk-…`, with about 285 bits of chance."""
    return f"sk-{_base62(48)}"


def request_id() -> str:
    """Return a new `req_…` id."""
    return f"req_{secrets.token_hex(16)}"
