"""Fetching from the Hugging Face hub, here one of our own on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.progress import SilentProgress
from openhearth.errors import ConfigurationError
from tests.unit.catalog.builders import build_folder
from tests.unit.catalog.fakes import RecordedProgress
from tests.unit.catalog.hub_server import COMMIT, HubServer, serving_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Return a hub with one model, `org/tiny`, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving_hub(HubServer({"org/tiny": build_folder(tmp_path / "hub" / "tiny")})) as running:
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Return an empty catalog."""
    return Catalog(tmp_path / "models", aliases={})


def test_a_repository_is_fetched_into_the_hub_s_cache(hub: HubServer, catalog: Catalog, tmp_path: Path) -> None:
    """A model of the hub is called as it was written, owned by its organisation, and lies in the hub's cache."""
    progress = RecordedProgress()

    entry = catalog.pull("org/tiny", progress)

    size = sum(file.stat().st_size for file in hub.repositories["org/tiny"].iterdir())
    assert (entry.id, entry.source, entry.owned_by, entry.is_ready) == ("org/tiny", "hub", "org", True)
    assert entry.path == tmp_path / "cache/models--org--tiny/snapshots" / COMMIT
    assert progress.steps == [("Fetching org/tiny", size)]
    assert max(progress.reports) == size


def test_a_revision_is_part_of_the_name(hub: HubServer, catalog: Catalog) -> None:
    """A model at a revision stands beside the same model without one."""
    entry = catalog.pull("org/tiny@v1", SilentProgress())

    assert (entry.id, entry.is_ready) == ("org/tiny@v1", True)


def test_neither_pickles_nor_code_are_fetched(hub: HubServer, catalog: Catalog) -> None:
    """Only weights in safetensors and descriptions leave the hub."""
    for name in ("pytorch_model.bin", "modeling_tiny.py", "model.gguf", "tokenizer.json"):
        (hub.repositories["org/tiny"] / name).write_text("{}", encoding="utf-8")

    catalog.pull("org/tiny", SilentProgress())

    assert sorted(hub.served) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_fetched_model_needs_no_hub(hub: HubServer, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second pull finds the model without asking."""
    catalog.pull("org/tiny", SilentProgress())
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    assert catalog.pull("org/tiny", SilentProgress()).is_ready


def test_the_cache_of_other_programs_counts(
    hub: HubServer, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that another program has fetched is served without a hub in reach."""
    catalog.pull("org/tiny", SilentProgress())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    entry = Catalog(tmp_path / "other models", aliases={}).pull("org/tiny", SilentProgress())

    assert entry.is_ready


def test_a_model_that_is_not_served_natively_is_refused(hub: HubServer, catalog: Catalog, tmp_path: Path) -> None:
    """A repository without safetensors is refused after a look at what it has."""
    hub.repositories["org/old"] = build_folder(tmp_path / "hub" / "old", weights="pytorch_model.bin")

    with pytest.raises(ConfigurationError, match="no weights in the safetensors format"):
        catalog.pull("org/old", SilentProgress())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("org/missing", "there is no such model, or it is private"),
        ("org/gated", "wants the conditions to be accepted"),
        ("org/tiny@v9", "has no such revision"),
        ("org/ti..ny", "Cannot have -- or .."),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(
    name: str, reason: str, hub: HubServer, catalog: Catalog, tmp_path: Path
) -> None:
    """Missing, gated and unknown are told apart."""
    hub.repositories["org/gated"] = hub.repositories["org/tiny"]
    hub.gated = {"org/gated"}

    with pytest.raises(ConfigurationError, match=reason):
        catalog.pull(name, SilentProgress())


@pytest.mark.parametrize(("constant", "value"), [("HF_HUB_OFFLINE", True), ("ENDPOINT", "http://127.0.0.1:9")])
def test_a_hub_out_of_reach_is_reported(
    constant: str, value: object, hub: HubServer, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the hub, a model that is not in the cache cannot come."""
    monkeypatch.setattr(constants, constant, value)

    with pytest.raises(ConfigurationError, match="not in the cache, and the hub is out of reach"):
        catalog.pull("org/tiny", SilentProgress())
