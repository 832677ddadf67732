"""The composition root: settings in, application out. The only place that wires; nothing else knows everybody."""

import asyncio
import os
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from rich.console import Console
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from openhearth import __version__, clock
from openhearth.api.auth import Authentication
from openhearth.api.banner import banner
from openhearth.api.dependencies import Services
from openhearth.api.error_handlers import handle_api_error, handle_http_exception, handle_validation_error
from openhearth.api.middleware import BodyLimit, HostCheck, RequestContext
from openhearth.api.routes import FILE_PATHS, ROUTERS
from openhearth.api.server import Server, bind, is_loopback
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.configured import configured_catalog
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.registry import (
    estimate_text_engine,
    load_embedding_engine,
    load_image_engine,
    load_remote_embedding_engine,
    load_remote_text_engine,
    load_text_engine,
)
from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.text.config import EngineConfig
from openhearth.errors import APIError, ConfigurationError
from openhearth.executor.local import LocalExecutor
from openhearth.home import secret_of
from openhearth.jobs.recovery import living_worker, release_dead_workers
from openhearth.jobs.worker import Lane, Worker, WorkerConfig, working
from openhearth.services.api_keys import DEFAULT_PROJECT, APIKeys
from openhearth.services.chat_completions import ChatCompletions
from openhearth.services.checkpoint_permissions import CheckpointPermissions
from openhearth.services.completions import Completions
from openhearth.services.embeddings import Embeddings
from openhearth.services.exports import ExportFormat, Exports
from openhearth.services.file_intake import FileIntake
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
from openhearth.services.resident_models import ResidentModels, default_model_memory_bytes
from openhearth.services.result_files import ResultFiles
from openhearth.services.storage_quota import StorageQuota
from openhearth.services.training_config import TrainingConfig, find_training_obstacle
from openhearth.services.training_files import TrainingFiles
from openhearth.services.tuned_models import TunedModels
from openhearth.services.uploads import Uploads
from openhearth.services.web_pictures import WebPictures
from openhearth.settings import RemoteSettings, Settings
from openhearth.store.blobs.base import BlobStore
from openhearth.store.blobs.filesystem import FilesystemBlobStore
from openhearth.store.database import Database, sqlite_url
from openhearth.tasks.fine_tuning import TrainTask, ValidateTask
from openhearth.tasks.housekeeping import keep_house
from openhearth.training.spec import LoraSpec

_EXPOSED_HEADERS = ("openai-model", "openai-processing-ms", "openai-version", "x-request-id", "retry-after-ms")


def serve(settings: Settings, *, loaders: Loaders | None = None) -> int:
    """Serve the API until a signal ends it, and return the exit code.

    Raises `ConfigurationError` or `ModelLoadError` with what the operator has to change.
    """
    asyncio.run(_check_keys(settings))
    catalog = configured_catalog(settings)
    app = build(settings, catalog=catalog, loaders=loaders or _loaders(settings))
    sockets = bind(settings.host, settings.port)
    services: Services = app.state.services

    async def announce() -> None:
        await services.host.ready()
        greeting = banner(
            host=settings.host,
            port=sockets[0].getsockname()[1],
            text_model=catalog.resolve(settings.text_model).id,
            models=[model.id for model in (await services.models.list(DEFAULT_PROJECT)).data],
            needs_key=await services.api_keys.are_required(),
        )
        Console(soft_wrap=True, highlight=False, markup=False).print(greeting)

    server = Server(app, drain_timeout_seconds=settings.drain_timeout_seconds, on_listening=announce)
    server.serve_on(sockets)
    return 0


def build(settings: Settings, *, catalog: Catalog, loaders: Loaders) -> FastAPI:
    """Return the application. It opens the home's database and loads the default models when it is started."""
    database = _database(settings)
    blobs = FilesystemBlobStore(settings.home / "blobs")
    services = _services(settings, catalog, loaders, database, blobs)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await database.migrate()
        services.host.start()
        try:
            async with keep_house(Housekeeping(database, blobs), services.image_links), AsyncExitStack() as stack:
                if settings.worker:
                    worker = await stack.enter_async_context(_open_worker(settings, catalog, database, blobs))
                    await stack.enter_async_context(working(worker))
                yield
        finally:
            await services.host.close()
            await database.close()

    app = FastAPI(
        title="openhearth",
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, services.api_keys),
        exception_handlers={
            APIError: handle_api_error,
            HTTPException: handle_http_exception,
            RequestValidationError: handle_validation_error,
        },
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router)
    return app


def _services(settings: Settings, catalog: Catalog, loaders: Loaders, database: Database, blobs: BlobStore) -> Services:
    """Put every service together with what it works with."""
    files, uploads = _file_services(settings, database, blobs)
    image_links = _image_links(settings)
    tuned_models = TunedModels(database, TrainingFiles(blobs, _training_folder(settings)))
    host = ModelHost(
        catalog, tuned_models, loaders=loaders, defaults=settings.default_models, residents=_residents(settings)
    )
    metrics = Metrics(host)
    generation = Generation(metrics, timeout_seconds=settings.request_timeout_seconds)
    return Services(
        api_keys=APIKeys(database, is_open=is_loopback(settings.host)),
        chat_completions=ChatCompletions(host, generation),
        checkpoint_permissions=CheckpointPermissions(database),
        completions=Completions(host, generation),
        embeddings=Embeddings(host, matryoshka_models=settings.matryoshka_models),
        files=files,
        fine_tuning=FineTuning(
            database, catalog, organization=settings.organization, find_obstacle=find_training_obstacle
        ),
        host=host,
        image_links=image_links,
        image_references=ImageReferences(files, WebPictures(is_enabled=settings.fetch_image_urls)),
        images=Images(host, image_links),
        inboxes=Inboxes(settings.home / "incoming-images"),
        metrics=metrics,
        models=Models(catalog, tuned_models, organization=settings.organization),
        uploads=uploads,
    )


def work(settings: Settings) -> None:
    """Carry out queued work until a signal ends this process; beside a server, or other workers, on the same home."""
    with suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    database = _database(settings)
    blobs = FilesystemBlobStore(settings.home / "blobs")
    catalog = configured_catalog(settings)
    try:
        await database.migrate()
        async with _open_worker(settings, catalog, database, blobs) as worker:
            await worker.run()
    finally:
        await database.close()


@asynccontextmanager
async def _open_worker(
    settings: Settings, catalog: Catalog, database: Database, blobs: BlobStore
) -> AsyncIterator[Worker]:
    """Give a worker for everything that this home queues."""
    workers = settings.home / "workers"
    await release_dead_workers(database, workers, now=clock.now)
    quota = StorageQuota(database, max_project_bytes=settings.max_project_bytes)
    runs = FineTuningRuns(
        catalog,
        TrainingFiles(blobs, _training_folder(settings)),
        ResultFiles(FileIntake(database, blobs, quota)),
        config=_training_config(settings),
    )
    num_threads = _training_config(settings).num_threads
    executor = LocalExecutor(num_threads=num_threads, niceness=settings.training_niceness)
    with living_worker(workers) as name:
        yield Worker(
            database,
            {VALIDATE: ValidateTask(runs), TRAIN: TrainTask(runs, executor)},
            name=name,
            lanes=[
                Lane(tasks=[VALIDATE]),
                Lane(tasks=[TRAIN], device=f"{platform.node()}/{settings.training_device}"),
            ],
            config=WorkerConfig(
                poll_interval_seconds=settings.worker_poll_interval_seconds,
                heartbeat_interval_seconds=settings.worker_heartbeat_interval_seconds,
                lease_seconds=settings.worker_lease_seconds,
            ),
        )


@asynccontextmanager
async def open_api_keys(settings: Settings) -> AsyncIterator[APIKeys]:
    """Give the keys of a home, whether or not a server is running on it."""
    database = _database(settings)
    try:
        await database.migrate()
        yield APIKeys(database, is_open=is_loopback(settings.host))
    finally:
        await database.close()


def export(settings: Settings, name: str, target: Path, export_format: ExportFormat) -> None:
    """Write a tuned model to a directory. Raises `ConfigurationError` with what is wrong."""
    if export_format == "merged" and (obstacle := find_training_obstacle()) is not None:
        raise ConfigurationError(obstacle)

    def merge(base_model: Path, adapter: Path, target: Path) -> None:
        # Loaded by name, so that nothing else waits for the tensor library.
        import_module("openhearth.training.merge").merge(base_model, adapter, target)

    async def run() -> None:
        database = _database(settings)
        files = TrainingFiles(FilesystemBlobStore(settings.home / "blobs"), _training_folder(settings))
        catalog = configured_catalog(settings)
        try:
            await database.migrate()
            await Exports(database, files, catalog, merge=merge).export(name, target, export_format)
        finally:
            await database.close()

    asyncio.run(run())


async def _check_keys(settings: Settings) -> None:
    async with open_api_keys(settings) as api_keys:
        if not is_loopback(settings.host) and not await api_keys.has_any():
            raise ConfigurationError(
                f"A server on {settings.host} can be reached by others, so it needs a key first: run "
                "`openhearth keys create NAME`, or bind it to 127.0.0.1."
            )


def _database(settings: Settings) -> Database:
    return Database(sqlite_url(settings.home / "openhearth.db"))


def _file_services(settings: Settings, database: Database, blobs: BlobStore) -> tuple[Files, Uploads]:
    quota = StorageQuota(database, max_project_bytes=settings.max_project_bytes)
    intake = FileIntake(database, blobs, quota)
    return (
        Files(database, blobs, intake, quota, max_file_bytes=settings.max_file_bytes),
        Uploads(database, blobs, intake, quota, max_upload_bytes=settings.max_upload_bytes),
    )


def _loaders(settings: Settings) -> Loaders:
    return Loaders(
        text=partial(load_text_engine, config=_engine_config(settings)),
        embedding=partial(load_embedding_engine, config=_embedding_config(settings)),
        image=partial(load_image_engine, config=_image_config(settings)),
        remote=lambda name: load_remote_text_engine(_remote_config(settings.remotes[name])),
        remote_embedding=lambda name: load_remote_embedding_engine(_remote_config(settings.remotes[name])),
        estimate_text=partial(estimate_text_engine, config=_engine_config(settings)),
    )


def _residents(settings: Settings) -> ResidentModels:
    return ResidentModels(
        max_bytes=settings.model_memory_bytes or default_model_memory_bytes(), idle_seconds=settings.model_idle_seconds
    )


def _image_links(settings: Settings) -> ImageLinks:
    return ImageLinks(FilesystemBlobStore(settings.home / "images"), secret=secret_of(settings.home, "image-links"))


def _remote_config(remote: RemoteSettings) -> RemoteConfig:
    return RemoteConfig(
        base_url=remote.base_url,
        model=remote.model,
        tokenizer=remote.tokenizer,
        api_key=None if remote.api_key is None else remote.api_key.get_secret_value(),
        dialect=remote.dialect,
        max_model_len=remote.max_model_len,
    )


def _image_config(settings: Settings) -> ImageEngineConfig:
    return ImageEngineConfig(
        max_waiting_requests=settings.max_waiting_images,
        max_batch_pixels=settings.max_batch_pixels,
        num_threads=settings.num_threads,
    )


def _embedding_config(settings: Settings) -> EmbeddingConfig:
    return EmbeddingConfig(
        dtype=settings.embedding_dtype,
        max_batch_tokens=settings.max_batch_tokens,
        max_concurrent_requests=settings.max_concurrent_requests,
        num_threads=settings.num_threads,
    )


def _training_folder(settings: Settings) -> Path:
    return settings.home / "fine_tuning"


def _training_config(settings: Settings) -> TrainingConfig:
    return TrainingConfig(
        learning_rate=settings.training_learning_rate,
        dpo_learning_rate=settings.training_dpo_learning_rate,
        lora=LoraSpec(
            r=settings.training_lora_r,
            lora_alpha=settings.training_lora_alpha,
            lora_dropout=settings.training_lora_dropout,
            target_modules=settings.training_lora_target_modules,
        ),
        device=settings.training_device,
        num_threads=settings.training_num_threads or max(1, (os.cpu_count() or 1) // 2),
        max_length=settings.training_max_length,
        max_micro_batch_size=settings.training_micro_batch_size,
        snapshot_seconds=settings.training_snapshot_seconds,
    )


def _engine_config(settings: Settings) -> EngineConfig:
    return EngineConfig(
        dtype=settings.dtype,
        kv_cache_dtype=settings.kv_cache_dtype,
        kv_cache_bytes=settings.kv_cache_bytes,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_waiting_requests=settings.max_waiting_requests,
        max_waiting_tokens=settings.max_waiting_tokens,
        enable_prefix_caching=settings.enable_prefix_caching,
        max_loras=settings.max_loras,
        lora_cache_bytes=settings.lora_cache_bytes,
        num_threads=settings.num_threads,
    )


def _middleware(settings: Settings, api_keys: APIKeys) -> list[Middleware]:
    """Return the layers around the routes, outermost first."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_allow_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED_HEADERS,
    )
    return [
        Middleware(RequestContext),
        Middleware(HostCheck, bind_host=settings.host, allowed_hosts=settings.allowed_hosts),
        *([cors] if settings.cors_allow_origins else []),
        Middleware(Authentication, api_keys=api_keys),
        Middleware(BodyLimit, max_bytes=settings.max_request_body_bytes, exempt=FILE_PATHS),
    ]
