"""The `openhearth` command: reads flags, shows results; what a command does is done below.

Results go to standard output, everything else to standard error. What the operator has to change is said in one
sentence, with exit code 2.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table
from rich.text import Text

from openhearth import __version__
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.configured import configured_catalog
from openhearth.catalog.entry import ModelEntry
from openhearth.catalog.progress import LoggedProgress, Progress, TerminalProgress
from openhearth.errors import OpenHearthError
from openhearth.home import owned_home, prepare_home
from openhearth.logs import configure_logging
from openhearth.settings import Settings, load_settings
from openhearth.training.rows import check_rows

if TYPE_CHECKING:
    from openhearth.services.api_keys import APIKeys

Result = TypeVar("Result")

command = typer.Typer(
    name="openhearth",
    help="The OpenAI platform API, complete, on hardware you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

tuning = typer.Typer(help="Prepare fine-tuning.", no_args_is_help=True)
command.add_typer(tuning, name="ft")

keys = typer.Typer(help="Make, list and revoke API keys, also while the server runs.", no_args_is_help=True)
command.add_typer(keys, name="keys")

Home = Annotated[Path | None, typer.Option(help="Where the server keeps its state.", metavar="DIR")]
Config = Annotated[Path | None, typer.Option(help="A TOML file with settings.", metavar="FILE")]


def main() -> None:
    """Run the command line."""
    try:
        command()
    except OpenHearthError as error:
        Console(stderr=True).print(Text.assemble(("openhearth: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(2)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"openhearth {__version__}")
        raise typer.Exit


@command.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


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
        catalog = configured_catalog(settings)
        _pull(catalog, settings.default_models)
        catalog.list()  # an alias that leads nowhere stops the server here, not its first caller
        raise typer.Exit(_application().serve(settings))


@command.command()
def worker(home: Home = None, config: Config = None) -> None:
    """Carry out the fine-tuning jobs of a home, beside its server or other workers, until told to stop."""
    settings = _settings(config, home=home)
    prepare_home(settings.home)
    _application().work(settings)


@command.command()
def export(
    model: Annotated[str, typer.Argument(help="A tuned model or one of its checkpoints.", metavar="MODEL")],
    to: Annotated[Path, typer.Option(help="The directory to write to.", metavar="DIR")],
    format: Annotated[
        Literal["peft", "merged", "gguf"],
        typer.Option(help="The adapter, its base with it, or the same in one GGUF file.", metavar="FORMAT"),
    ] = "peft",
    home: Home = None,
    config: Config = None,
) -> None:
    """Write a tuned model to a directory, with a Modelfile beside it. What you trained is yours."""
    settings = _settings(config, home=home)
    prepare_home(settings.home)
    _application().export(settings, model, to, format)
    typer.echo(f"{model} is at {to}")


@tuning.command("check")
def check_file(
    file: Annotated[Path, typer.Argument(help="A training file.", metavar="FILE", exists=True, dir_okay=False)],
    method: Annotated[Literal["supervised", "dpo"], typer.Option(help="How it is to be trained.")] = "supervised",
    model: Annotated[str | None, typer.Option(help="The model to count tokens for.", metavar="MODEL")] = None,
    n_epochs: Annotated[
        int | None, typer.Option(help="How often it is to be gone through.", metavar="N", min=1, max=50)
    ] = None,
    estimate: Annotated[bool, typer.Option(help="Make a few steps, and say how long all would take.")] = True,
    config: Config = None,
) -> None:
    """Check a training file as a job would, count its examples and tokens, and estimate the time."""
    settings = _settings(config)
    with file.open("rb") as lines:
        report = check_rows(lines, method)
    typer.echo(f"{report.num_examples} examples of the format {report.format}")
    if report.num_skipped:
        typer.echo(f"{report.num_skipped} examples have images, which no text model can see, and would be skipped")
    entry = configured_catalog(settings).resolve(model or settings.text_model)
    if find_spec("transformers") is None or entry.path is None:
        typer.echo(f"Tokens are not counted: that takes openhearth[train], and {entry.id} on this machine.", err=True)
        return
    count_tokens = import_module("openhearth.training.check").count_tokens
    tokens = count_tokens(file, method, entry.path, max_length=settings.training_max_length)
    typer.echo(f"{tokens.total} tokens in each epoch, {tokens.median} in the median example, {tokens.longest} at most")
    typer.echo(f"{tokens.num_cut} examples are longer than {tokens.max_length} tokens and would be cut")
    if estimate:
        typer.echo("Making a few steps to see how long they take ...", err=True)
        found = _application().estimate_training(settings, file, method, entry.path, report.num_examples, n_epochs)
        typer.echo(f"about {_duration(found.seconds)} to train {found.n_epochs} epochs here (an estimate)")


@command.command()
def pull(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="An embedded model, a folder, a .gguf file, or org/name@revision on the Hugging Face hub; "
            "by default the models that the settings name.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Fetch models, and convert them if need be, before they are served."""
    settings = _settings(config)
    for entry in _pull(configured_catalog(settings), models or settings.default_models):
        typer.echo(f"{entry.id} is ready at {entry.path}")


@command.command("models")
def list_models(config: Config = None) -> None:
    """List the models and aliases."""
    settings = _settings(config)
    entries = configured_catalog(settings).list()
    table = _table("model", "kind", "source", _right("size"), _right("context"), "status")
    for entry in entries:
        table.add_row(*_row(entry))
    console = _stdout()
    console.print(table)
    for entry in entries:
        if entry.problem and entry.alias_of is None:
            console.print(f"{entry.id} cannot be served: {entry.problem}", soft_wrap=True)
        elif entry.remark and entry.alias_of is None:
            console.print(entry.remark, soft_wrap=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.", metavar="NAME")],
    project: Annotated[str, typer.Option(help="The project whose files and jobs the key opens.")] = "default",
    home: Home = None,
    config: Config = None,
) -> None:
    """Make a key. It is the last line of the output, and is never shown again."""
    secret = _use_keys(_settings(config, home=home), lambda api_keys: api_keys.create(name, project=project))
    typer.echo(f"A key for the project '{project}', shown this once:", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys(home: Home = None, config: Config = None) -> None:
    """List the keys, revoked ones too."""
    table = _table("id", "name", "project", "key", "created", "status")
    for key in _use_keys(_settings(config, home=home), lambda api_keys: api_keys.list()):
        created = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        status = "revoked" if key.is_revoked else "valid"
        table.add_row(key.id, key.name, key.project, f"sk-…{key.hint}", created, status)
    _stdout().print(table)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    home: Home = None,
    config: Config = None,
) -> None:
    """Revoke a key, from the next request on."""
    _use_keys(_settings(config, home=home), lambda api_keys: api_keys.revoke(key_id))
    typer.echo(f"{key_id} is revoked")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(2, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def _settings(config: Path | None, **flags: Any) -> Settings:
    settings = load_settings(config=config, **flags)
    configure_logging(settings.log_level, settings.log_format)
    return settings


def _pull(catalog: Catalog, models: list[str]) -> list[ModelEntry]:
    console = Console(stderr=True)
    progress: Progress = TerminalProgress(console) if console.is_terminal else LoggedProgress()
    return [catalog.pull(model, progress) for model in models]


def _application() -> ModuleType:
    # Loaded by name: it takes longer than all the rest together, and most commands do without it.
    return import_module("openhearth.app")


def _use_keys(settings: Settings, use: "Callable[[APIKeys], Awaitable[Result]]") -> Result:
    prepare_home(settings.home)

    async def run() -> Result:
        async with _application().open_api_keys(settings) as api_keys:
            return await use(api_keys)

    return asyncio.run(run())


def _table(identifier: str, *columns: str | Column) -> Table:
    # On a narrow terminal the other columns fold, so that an identifier can always be copied.
    folding = [Column(column, overflow="fold") if isinstance(column, str) else column for column in columns]
    return Table(Column(identifier, no_wrap=True), *folding, box=None, pad_edge=False, header_style="bold")


def _stdout() -> Console:
    # A table in a pipe is for grep and awk, which want a line whole.
    return Console(width=None if sys.stdout.isatty() else 1000, markup=False, highlight=False)


def _right(header: str) -> Column:
    return Column(header, justify="right", overflow="fold")


def _row(entry: ModelEntry) -> tuple[str, ...]:
    if entry.alias_of is not None:
        return entry.id, entry.kind, "alias", "", "", f"→ {entry.alias_of}"
    size = decimal(entry.size_bytes) if entry.size_bytes else ""
    context = f"{entry.context_length:,}" if entry.context_length else ""
    return entry.id, entry.kind, entry.source, size, context, _status(entry)


def _status(entry: ModelEntry) -> str:
    if entry.is_ready:
        return "ready"
    return "unusable" if entry.problem else "not pulled"
