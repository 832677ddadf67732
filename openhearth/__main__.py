"""The `openhearth` command, also as `python -m openhearth`.

A process that the server starts first imports the module the server was started from, so this one imports nothing of
the command until it runs.
"""

from importlib import import_module


def main() -> None:
    """Run the command line."""
    import_module("openhearth.cli").main()


if __name__ == "__main__":
    main()
