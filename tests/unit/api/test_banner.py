"""The greeting of a server."""

import pytest

from openhearth.api.banner import banner


@pytest.mark.parametrize(
    ("host", "listening", "calling"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("::1", "http://[::1]:8000", "http://[::1]:8000/v1"),
        ("0.0.0.0", "http://0.0.0.0:8000", "http://127.0.0.1:8000/v1"),
        ("::", "http://[::]:8000", "http://127.0.0.1:8000/v1"),
        ("hearth.home", "http://hearth.home:8000", "http://hearth.home:8000/v1"),
    ],
)
def test_addresses(host: str, listening: str, calling: str) -> None:
    """Where the server listens is told as it is, and the calls lead to it from this machine."""
    lines = banner(host=host, port=8000, text_model="m", models=["m", "alias"], needs_key=False).splitlines()

    assert lines[0].endswith(f"is listening on {listening}")
    assert lines[1].endswith("m, alias")
    assert f'base_url="{calling}"' in lines[2]
    assert f"curl {calling}/completions" in lines[3]


def test_key() -> None:
    """Where a key is needed, the calls have a place for it."""
    assert "Bearer YOUR_KEY" in banner(host="::", port=1, text_model="m", models=["m"], needs_key=True)
