"""What exports are called on the disk."""

from pathlib import Path
from typing import Any, cast

import pytest

from openhearth.catalog.catalog import Catalog
from openhearth.errors import ConfigurationError
from openhearth.services import exports
from openhearth.services.exports import Exports
from openhearth.services.training_files import TrainingFiles
from openhearth.store.tables import TunedModelRow
from tests.storage import open_storage


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("ft:org/name:me:a/b:7p4lURel", "ft-org-name-me-a-b-7p4lURel.gguf"),
        ("ft:tiny:me:été \n:7p4lURel", "ft-tiny-me--t----7p4lURel.gguf"),
    ],
)
async def test_gguf_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file_name: str) -> None:
    """The name of the model leads to one file in the directory, whatever is in it."""

    def write(_merged: Path, _base: Path, target: Path, **_options: Any) -> None:
        target.write_bytes(b"GGUF")

    def merge(*_paths: Path, **_options: Any) -> None: ...

    monkeypatch.setattr(exports, "export_gguf", write)
    model = type("Entry", (), {"path": tmp_path / "base"})
    catalog = cast(Catalog, type("Models", (), {"resolve": lambda _self, _name: model})())
    async with open_storage(tmp_path) as storage:
        row = TunedModelRow(
            name=name, project="p", base_model="m", fine_tuning_job_id="ftjob-a", directory="a", created_at=0.0
        )
        async with storage.database.transaction() as tx:
            await tx.tuned_models.keep(row)
        files = TrainingFiles(storage.blobs, tmp_path / "jobs")
        await Exports(storage.database, files, catalog, merge=merge).export(name, tmp_path / "out", "gguf")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Modelfile", file_name]
    assert (tmp_path / "out" / "Modelfile").read_text() == f"FROM ./{file_name}\n"


async def test_a_file_in_the_way(tmp_path: Path) -> None:
    """A target that is a file is refused in a sentence."""
    catalog = cast(
        Catalog, type("Models", (), {"resolve": lambda _self, _name: type("Entry", (), {"path": tmp_path})})()
    )
    (tmp_path / "file").touch()
    async with open_storage(tmp_path) as storage:
        row = TunedModelRow(
            name="ft:a", project="p", base_model="m", fine_tuning_job_id="ftjob-a", directory="a", created_at=0.0
        )
        async with storage.database.transaction() as tx:
            await tx.tuned_models.keep(row)
        files = TrainingFiles(storage.blobs, tmp_path / "jobs")
        merge = cast(exports.Merge, None)

        with pytest.raises(ConfigurationError, match="is a file; choose a directory"):
            await Exports(storage.database, files, catalog, merge=merge).export("ft:a", tmp_path / "file", "peft")
