"""The catalog: every model that is here or could be fetched, every alias, and how a name leads to a directory.

Knows names and files. Loading a model, and serving it, are for others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from openhearth.catalog.entry import ModelEntry
from openhearth.catalog.inventory import find_note, take_inventory
from openhearth.catalog.progress import Progress
from openhearth.catalog.publishing import exclusive
from openhearth.catalog.sources import Source, parse_source
from openhearth.errors import ConfigurationError, ModelNotFoundError


class Catalog:
    """Models and aliases by name. Reads the disk once, and again after each pull.

    `configured` are the models that the settings name, in any form that `pull` takes; each resolves by that form, too.
    `remotes` are the models that other servers compute.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        aliases: Mapping[str, str],
        configured: Iterable[str] = (),
        remotes: Iterable[ModelEntry] = (),
    ) -> None:
        self._models_dir = models_dir
        self._aliases = aliases
        self._remotes = {entry.id: entry for entry in remotes}
        self._configured = {text: _id_of(text) for text in configured}
        self._models: dict[str, ModelEntry] | None = None

    def list(self) -> list[ModelEntry]:
        """Return the models, then the aliases; also those whose files are not here.

        Raises `ConfigurationError` if an alias leads to nothing or in a circle.
        """
        return [*self._inventory.values(), *(self._alias(name) for name in self._aliases)]

    def resolve(self, name: str) -> ModelEntry:
        """Return the model or alias of this name.

        Raises `ModelNotFoundError` if there is none, `ConfigurationError` if it is an alias that leads to nothing.
        """
        if name in self._aliases:
            return self._alias(name)
        model = self._inventory.get(self._configured.get(name, name))
        if model is None:
            raise ModelNotFoundError(name)
        return model

    def pull(self, name: str, progress: Progress) -> ModelEntry:
        """Make a model present, if it is not yet, and return it with its directory.

        `name` is an embedded model, an alias of one, the path of a folder or of a `.gguf` file, `org/name[@revision]`
        on the Hugging Face hub, or a folder among the models. Several processes may pull the same model at once.
        Raises `ConfigurationError` or `ModelLoadError` with what is wrong.
        """
        target = self._target(name)
        source = parse_source(target)
        if source is not None and not self._is_placed(source):
            self._place(source, progress)
        model = self._inventory.get(_id_of(target))
        if model is None or model.path is None:
            raise ConfigurationError(
                f"No model is called '{name}': `openhearth models` lists those that are, and a model from the Hugging "
                "Face hub is written org/name."
            )
        if model.problem:
            raise ConfigurationError(f"{model.id} cannot be served: {model.problem}")
        return model

    def _place(self, source: Source, progress: Progress) -> None:
        try:
            with exclusive(self._models_dir, source.id):
                if not self._is_placed(source):
                    source.place(self._models_dir, progress)
                    self._models = None
        except (OSError, SafetensorError) as error:
            raise ConfigurationError(f"{source.id} cannot be written to {self._models_dir}: {error}.") from error

    def _is_placed(self, source: Source) -> bool:
        self._models = None  # another process may have placed it meanwhile
        model = self._inventory.get(source.id)
        if model is None or not model.is_local:
            return False
        note = find_note(self._models_dir, source.id)
        if note is None:  # somebody put a folder there, which counts as it is
            return True
        if note.origin != source.origin:
            raise ConfigurationError(
                f"A model from {note.origin} is already called {note.id}; give the one at {source.origin} another name."
            )
        return source.fingerprint in (None, note.fingerprint)

    @property
    def _inventory(self) -> dict[str, ModelEntry]:
        if self._models is None:
            self._models = take_inventory(self._models_dir) | self._remotes
        return self._models

    def _alias(self, name: str) -> ModelEntry:
        target = self._target(name)
        model = self._inventory.get(self._configured.get(target, target))
        if model is None:
            raise ConfigurationError(f"The alias '{name}' leads to '{target}', which is not a model.")
        return replace(model, id=name, alias_of=model.id)

    def _target(self, name: str) -> str:
        """Follow aliases to what is none."""
        path = [name]
        while path[-1] in self._aliases:
            path.append(self._aliases[path[-1]])
            if path[-1] in path[:-1]:
                raise ConfigurationError(f"The alias '{name}' leads in a circle: {' → '.join(path)}.")
        return path[-1]


def _id_of(text: str) -> str:
    source = parse_source(text)
    return text if source is None else source.id
