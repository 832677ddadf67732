"""`python -m openhearth` is the `openhearth` command."""

from openhearth.cli import main

main()
