"""What becomes of adapters with the models they are for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth.catalog.catalog import Catalog
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.errors import ServiceUnavailableError
from openhearth.services.model_host import Loaders, ModelHost
from openhearth.services.resident_models import ResidentModels
from openhearth.services.training_files import TrainingFiles
from openhearth.services.tuned_models import TunedModels
from openhearth.store.blobs.memory import MemoryBlobStore
from openhearth.store.database import Database, sqlite_url
from openhearth.store.tables import TunedModelRow
from tests.servers import MODEL, make_settings


class WatchedEngine(FakeTextEngine):
    """Keeps what it is told of adapters."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[str] = []
        self.unloaded: list[float] = []

    async def prepare_lora(self, target_modules: str) -> None:
        """See `TextEngine.prepare_lora`."""
        self.prepared.append(target_modules)

    async def unload_idle_loras(self, idle_seconds: float) -> None:
        """See `TextEngine.unload_idle_loras`."""
        self.unloaded.append(idle_seconds)


class Hearth:
    """A host of one default model."""

    def __init__(self, root: Path, *, idle_seconds: float = 0.0, num_adapter_bytes: int = 0) -> None:
        settings = make_settings(root)
        self.database = Database(sqlite_url(root / "openhearth.db"))
        files = TrainingFiles(MemoryBlobStore(), root / "jobs")
        self.engine = WatchedEngine()
        self.host = ModelHost(
            Catalog(settings.models, aliases={}),
            TunedModels(self.database, files),
            loaders=Loaders(
                text=lambda _: self.engine,
                embedding=lambda _: FakeEmbeddingEngine(),
                estimate_adapters=lambda _: num_adapter_bytes,
            ),
            defaults=[MODEL],
            residents=ResidentModels(max_bytes=2**30, idle_seconds=idle_seconds),
            target_modules="up_proj",
        )


@pytest.fixture
async def hearth(tmp_path: Path) -> AsyncIterator[Hearth]:
    """Give a host that has not been started."""
    hearth = Hearth(tmp_path, idle_seconds=60)
    yield hearth
    await hearth.host.close()


@pytest.mark.parametrize("expected", ["before", "after"])
async def test_expected_adapters(hearth: Hearth, expected: str) -> None:
    """A model gets ready once, whether adapters are expected before it is loaded or afterwards."""
    if expected == "before":
        hearth.host.expect_adapters(MODEL)
    hearth.host.start()
    await hearth.host.ready()
    if expected == "after":
        hearth.host.expect_adapters(MODEL)

    await hearth.host.close()

    assert hearth.engine.prepared == ["up_proj"]


async def test_no_adapters_expected(hearth: Hearth) -> None:
    """A model that nobody tunes does not get ready for adapters."""
    hearth.host.expect_adapters("another")
    hearth.host.start()
    await hearth.host.ready()

    await hearth.host.close()

    assert hearth.engine.prepared == []


@pytest.mark.parametrize(("idle_seconds", "unloaded"), [(60.0, [60.0]), (0.0, [])])
async def test_idle_adapters(tmp_path: Path, idle_seconds: float, unloaded: list[float]) -> None:
    """A default model stays, and its idle adapters go, unless everything is to stay."""
    hearth = Hearth(tmp_path, idle_seconds=idle_seconds)
    hearth.host.start()
    await hearth.host.ready()

    await hearth.host.unload_idle()

    assert [model.id for model in hearth.host.loaded] == [MODEL]
    assert hearth.engine.unloaded == unloaded
    await hearth.host.close()


@pytest.mark.parametrize("num_adapter_bytes", [2**20, 2**40])
async def test_room_for_adapters(tmp_path: Path, num_adapter_bytes: int) -> None:
    """A tuned model is served if there is memory for what adapters need; if not, its base still is."""
    hearth = Hearth(tmp_path, num_adapter_bytes=num_adapter_bytes)
    tuned = TunedModelRow(
        name="ft:a", project="p", base_model=MODEL, fine_tuning_job_id="ftjob-a", directory="a", created_at=0.0
    )
    await hearth.database.migrate()
    async with hearth.database.transaction() as tx:
        await tx.tuned_models.keep(tuned)
    hearth.host.start()
    await hearth.host.ready()

    if num_adapter_bytes == 2**20:
        assert (await hearth.host.get("ft:a", project="p")).id == "ft:a"
    else:
        with pytest.raises(ServiceUnavailableError, match=r"`ft:a` cannot be loaded: fake-model needs about 1\.1 TB"):
            await hearth.host.get("ft:a", project="p")

    assert (await hearth.host.get(MODEL, project="p")).engine is hearth.engine
    await hearth.host.close()
    await hearth.database.close()
