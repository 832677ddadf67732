"""What a server says when it is ready: where it is, what it serves, and how to ask it something."""

from openhearth import __version__

_EVERY_ADDRESS = ("0.0.0.0", "::")


def banner(*, host: str, port: int, text_model: str, models: list[str], needs_key: bool) -> str:
    """Return four lines: the address, the models, and two ways of calling them that work when they are pasted."""
    shown = f"[{host}]" if ":" in host else host
    base_url = f"http://{'127.0.0.1' if host in _EVERY_ADDRESS else shown}:{port}/v1"
    key = "YOUR_KEY" if needs_key else "any"
    body = f'{{"model": "{text_model}", "prompt": "Once upon a time", "max_tokens": 32}}'
    return "\n".join(
        (
            f"openhearth {__version__} is listening on http://{shown}:{port}",
            f"  models   {', '.join(models)}",
            f'  Python   OpenAI(base_url="{base_url}", api_key="{key}")',
            f"  shell    curl {base_url}/completions -H 'Authorization: Bearer {key}' "
            f"-H 'Content-Type: application/json' -d '{body}'",
        )
    )
