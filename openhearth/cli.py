"""The `openhearth` command: reads flags, shows results; what a command does is done below.

Results go to standard output, everything else to standard error. What the operator has to change is said in one
sentence, with exit code 2.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table

from openhearth import __version__
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.entry import ModelEntry
from openhearth.catalog.progress import LoggedProgress, Progress, TerminalProgress
from openhearth.errors import ConfigurationError, ModelLoadError
from openhearth.home import owned_home
from openhearth.logs import configure_logging
from openhearth.settings import Settings, load_settings

command = typer.Typer(
    name="openhearth",
    help="The OpenAI platform API, complete, on hardware you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Home = Annotated[Path | None, typer.Option(help="Where the server keeps its state.", metavar="DIR")]
Config = Annotated[Path | None, typer.Option(help="A TOML file with settings.", metavar="FILE")]


def main() -> None:
    """Run the command line."""
    try:
        command()
    except (ConfigurationError, ModelLoadError) as error:
        Console(stderr=True).print(f"[bold red]openhearth:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


@command.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"openhearth {__version__}")
        raise typer.Exit


@command.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.", metavar="ADDRESS")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.", metavar="PORT")] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Serve the API, after fetching the models that are missing."""
    settings = _settings(config, host=host, port=port, home=home)
    with owned_home(settings.home):
        _pull(_catalog(settings), [settings.text_model])
        # Loaded by name, so that no other command waits for the web framework and the database library.
        raise typer.Exit(import_module("openhearth.app").serve(settings))


@command.command()
def pull(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="An embedded model, a folder, a .gguf file, or org/name[@revision] on the Hugging Face hub; "
            "by default the models that the settings name.",
            show_default=False,
        ),
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Fetch models, and convert them if need be, before they are served."""
    settings = _settings(config, home=home)
    for entry in _pull(_catalog(settings), models or [settings.text_model]):
        typer.echo(f"{entry.id} is ready at {entry.path}", err=True)


@command.command("models")
def list_models(home: Home = None, config: Config = None) -> None:
    """List the models and aliases."""
    settings = _settings(config, home=home)
    entries = _catalog(settings).list()
    table = Table(
        "model",
        "kind",
        "source",
        _right("size"),
        _right("context"),
        "status",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for entry in entries:
        table.add_row(*_row(entry))
    console = _stdout()
    console.print(table)
    for entry in entries:
        if entry.problem and entry.alias_of is None:
            console.print(f"{entry.id} cannot be served: {entry.problem}", highlight=False, soft_wrap=True)


def _settings(config: Path | None, **flags: Any) -> Settings:
    settings = load_settings(config=config, **flags)
    configure_logging(settings.log_level, settings.log_format)
    return settings


def _catalog(settings: Settings) -> Catalog:
    return Catalog(settings.models, aliases=settings.aliases, configured=[settings.text_model])


def _pull(catalog: Catalog, models: list[str]) -> list[ModelEntry]:
    console = Console(stderr=True)
    progress: Progress = TerminalProgress(console) if console.is_terminal else LoggedProgress()
    return [catalog.pull(model, progress) for model in models]


def _stdout() -> Console:
    # A table in a pipe is for grep and awk, which want a line whole.
    return Console(width=None if sys.stdout.isatty() else 1000)


def _right(header: str) -> Column:
    return Column(header, justify="right")


def _row(entry: ModelEntry) -> tuple[str, ...]:
    if entry.alias_of is not None:
        return f"{entry.id} → {entry.alias_of}", entry.kind, "alias", "", "", ""
    size = decimal(entry.size_bytes) if entry.size_bytes else ""
    context = f"{entry.context_length:,}" if entry.context_length else ""
    return entry.id, entry.kind, entry.source, size, context, _status(entry)


def _status(entry: ModelEntry) -> str:
    if entry.is_ready:
        return "ready"
    return "unusable" if entry.problem else "not pulled"
