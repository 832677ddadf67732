"""What is kept in a home, and what works with it: the same for a server, a worker and the commands."""

import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import get_args

from openhearth import clock
from openhearth.api.dependencies import Services
from openhearth.api.server import is_loopback
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.configured import configured_catalog
from openhearth.configs import rate_limit_config, training_config, worker_config
from openhearth.executor.local import LocalExecutor
from openhearth.home import secret_of, storing_lock
from openhearth.jobs.recovery import living_worker, release_dead_workers
from openhearth.jobs.worker import Lane, Worker
from openhearth.services.api_keys import APIKeys
from openhearth.services.chat_completions import ChatCompletions
from openhearth.services.checkpoint_permissions import CheckpointPermissions
from openhearth.services.completions import Completions
from openhearth.services.embeddings import Embeddings
from openhearth.services.file_formats import FileFormats, count_tokens
from openhearth.services.file_intake import FileIntake
from openhearth.services.file_storage import FileStorage
from openhearth.services.files import Files
from openhearth.services.fine_tuning import TRAIN, VALIDATE, FineTuning
from openhearth.services.fine_tuning_runs import FineTuningRuns
from openhearth.services.generation import Generation
from openhearth.services.housekeeping import Housekeeping
from openhearth.services.image_inputs import Inboxes
from openhearth.services.image_links import ImageLinks
from openhearth.services.image_references import ImageReferences
from openhearth.services.images import Images
from openhearth.services.metrics import Metrics
from openhearth.services.model_host import Loaders, ModelHost
from openhearth.services.models import Models
from openhearth.services.rate_limits import RateLimits
from openhearth.services.resident_models import ResidentModels, default_model_memory_bytes
from openhearth.services.result_files import ResultFiles
from openhearth.services.storage_quota import StorageQuota
from openhearth.services.training_config import find_training_obstacle
from openhearth.services.training_files import TrainingFiles
from openhearth.services.tuned_models import TunedModels
from openhearth.services.uploads import Uploads
from openhearth.services.web_pictures import WebPictures
from openhearth.settings import Settings
from openhearth.store.blobs.filesystem import FilesystemBlobStore
from openhearth.store.database import Database, sqlite_url
from openhearth.tasks.fine_tuning import TrainTask, ValidateTask
from openhearth.training.spec import DeviceChoice


class Components:
    """The parts that everything else of a process is made of. Nothing is read or written before it is used."""

    def __init__(self, settings: Settings, *, catalog: Catalog | None = None) -> None:
        self.settings = settings
        self.database = Database(sqlite_url(settings.home / "openhearth.db"))
        self.blobs = FilesystemBlobStore(settings.home / "blobs")
        quota = StorageQuota(self.database, max_project_bytes=settings.max_project_bytes)
        self.storage = FileStorage(self.database, self.blobs, quota)
        self.training_files = TrainingFiles(self.blobs, settings.home / "fine_tuning")
        self.storing = partial(storing_lock, settings.home)
        self.housekeeping = Housekeeping(self.database, self.blobs, storing=self.storing)
        self.api_keys = APIKeys(self.database, is_open=is_loopback(settings.host))
        self.rate_limits = RateLimits(rate_limit_config(settings), organization=settings.organization)
        self._catalog = catalog

    @cached_property
    def catalog(self) -> Catalog:
        """The models of the settings, unless others were given."""
        return self._catalog or configured_catalog(self.settings)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Bring the database up to date, and close it at the end."""
        try:
            await self.database.migrate()
            yield
        finally:
            await self.database.close()

    def services(self, loaders: Loaders) -> Services:
        """Put every service of a server together with what it works with."""
        settings = self.settings
        image_links = ImageLinks(
            FilesystemBlobStore(settings.home / "images"), secret=secret_of(settings.home, "image-links")
        )
        tuned_models = TunedModels(self.database, self.training_files)
        residents = ResidentModels(
            max_bytes=settings.model_memory_bytes or default_model_memory_bytes(),
            idle_seconds=settings.model_idle_seconds,
        )
        host = ModelHost(
            self.catalog,
            tuned_models,
            loaders=loaders,
            defaults=settings.preloaded_models,
            residents=residents,
            target_modules=settings.training_lora_target_modules,
        )
        intake = FileIntake(self.storage, FileFormats(partial(count_tokens, host, settings.text_model)))
        files = Files(self.storage, intake, max_file_bytes=settings.max_file_bytes)
        metrics = Metrics(host)
        generation = Generation(metrics, timeout_seconds=settings.request_timeout_seconds)
        return Services(
            api_keys=self.api_keys,
            chat_completions=ChatCompletions(host, generation),
            checkpoint_permissions=CheckpointPermissions(self.database),
            completions=Completions(host, generation),
            embeddings=Embeddings(host, matryoshka_models=settings.matryoshka_models),
            files=files,
            fine_tuning=FineTuning(
                self.database,
                self.catalog,
                organization=settings.organization,
                find_obstacle=partial(find_training_obstacle, settings.training_trackers),
                expect_adapters=host.expect_adapters,
            ),
            host=host,
            image_links=image_links,
            image_references=ImageReferences(files, WebPictures(is_enabled=settings.fetch_image_urls)),
            images=Images(host, image_links, metrics, timeout_seconds=settings.request_timeout_seconds),
            inboxes=Inboxes(settings.home / "incoming-images"),
            metrics=metrics,
            models=Models(self.catalog, tuned_models, organization=settings.organization),
            uploads=Uploads(self.storage, intake, max_upload_bytes=settings.max_upload_bytes),
        )

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Give a worker for everything that this home queues."""
        settings, config = self.settings, training_config(self.settings)
        workers = settings.home / "workers"
        await release_dead_workers(self.database, workers, now=clock.now)
        results = ResultFiles(FileIntake(self.storage), storing=self.storing)
        runs = FineTuningRuns(self.catalog, self.training_files, results, config=config)
        executor = LocalExecutor(num_threads=config.num_threads, niceness=settings.training_niceness)
        with living_worker(workers) as name:
            yield Worker(
                self.database,
                {VALIDATE: ValidateTask(runs), TRAIN: TrainTask(runs, executor)},
                name=name,
                lanes=[Lane(tasks=[VALIDATE]), training_lane(settings.training_device, machine=platform.node())],
                config=worker_config(settings),
            )


def training_lane(device: DeviceChoice, *, machine: str) -> Lane:
    """Return the lane of trainings, on a device that `auto` may stand for as well."""
    same = [choice for choice in get_args(DeviceChoice) if choice != device] if device == "auto" else ["auto"]
    return Lane(tasks=[TRAIN], device=f"{machine}/{device}", same_devices=[f"{machine}/{choice}" for choice in same])
