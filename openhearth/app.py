"""The composition root: settings in, application out. The only place that wires; nothing else knows everybody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from rich.console import Console
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from openhearth import __version__
from openhearth.api.auth import Authentication
from openhearth.api.dependencies import Services
from openhearth.api.error_handlers import handle_api_error, handle_http_exception, handle_validation_error
from openhearth.api.middleware import BodyLimit, HostCheck, RequestContext
from openhearth.api.routes import FILE_PATHS, ROUTERS
from openhearth.api.server import Server, bind
from openhearth.catalog.catalog import Catalog
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.registry import load_embedding_engine, load_text_engine
from openhearth.engine.text.config import EngineConfig
from openhearth.errors import APIError, ConfigurationError
from openhearth.services.api_keys import APIKeys
from openhearth.services.chat_completions import ChatCompletions
from openhearth.services.completions import Completions
from openhearth.services.embeddings import Embeddings
from openhearth.services.file_intake import FileIntake
from openhearth.services.files import Files
from openhearth.services.generation import Generation
from openhearth.services.housekeeping import Housekeeping
from openhearth.services.metrics import Metrics
from openhearth.services.model_host import Loaders, ModelHost
from openhearth.services.models import Models
from openhearth.services.storage_quota import StorageQuota
from openhearth.services.uploads import Uploads
from openhearth.settings import Settings
from openhearth.store.blobs.base import BlobStore
from openhearth.store.blobs.filesystem import FilesystemBlobStore
from openhearth.store.database import Database, sqlite_url
from openhearth.tasks.housekeeping import keep_house

_EXPOSED_HEADERS = ("openai-model", "openai-processing-ms", "openai-version", "x-request-id", "retry-after-ms")


def serve(settings: Settings, *, loaders: Loaders | None = None) -> int:
    """Serve the API until a signal ends it, and return the exit code.

    Raises `ConfigurationError` or `ModelLoadError` with what the operator has to change.
    """
    asyncio.run(_check_keys(settings))
    catalog = Catalog(settings.models, aliases=settings.aliases, configured=settings.default_models)
    app = build(settings, catalog=catalog, loaders=loaders or _loaders(settings))
    sockets = bind(settings.host, settings.port)
    services: Services = app.state.services

    async def announce() -> None:
        await services.host.ready()
        banner = _banner(
            settings,
            port=sockets[0].getsockname()[1],
            text_model=catalog.resolve(settings.text_model).id,
            models=[model.id for model in services.models.list().data],
            needs_key=await services.api_keys.are_required(),
        )
        Console(soft_wrap=True, highlight=False, markup=False).print(banner)

    server = Server(app, drain_timeout_seconds=settings.drain_timeout_seconds, on_listening=announce)
    server.serve_on(sockets)
    return 0


def build(settings: Settings, *, catalog: Catalog, loaders: Loaders) -> FastAPI:
    """Return the application. It opens the home's database and loads the default models when it is started."""
    database = _database(settings)
    blobs = FilesystemBlobStore(settings.home / "blobs")
    files, uploads = _file_services(settings, database, blobs)
    host = ModelHost(catalog, loaders=loaders, defaults=settings.default_models)
    metrics = Metrics(host)
    generation = Generation(metrics, timeout_seconds=settings.request_timeout_seconds)
    api_keys = APIKeys(database, is_open=_is_loopback(settings.host))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await database.migrate()
        host.start()
        try:
            async with keep_house(Housekeeping(database, blobs)):
                yield
        finally:
            await host.close()
            await database.close()

    app = FastAPI(
        title="openhearth",
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, api_keys),
        exception_handlers={
            APIError: handle_api_error,
            HTTPException: handle_http_exception,
            RequestValidationError: handle_validation_error,
        },
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = Services(
        api_keys=api_keys,
        chat_completions=ChatCompletions(host, generation),
        completions=Completions(host, generation),
        embeddings=Embeddings(host, matryoshka_models=settings.matryoshka_models),
        files=files,
        host=host,
        metrics=metrics,
        models=Models(catalog),
        uploads=uploads,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def open_api_keys(settings: Settings) -> AsyncIterator[APIKeys]:
    """Give the keys of a home, whether or not a server is running on it."""
    database = _database(settings)
    try:
        await database.migrate()
        yield APIKeys(database, is_open=_is_loopback(settings.host))
    finally:
        await database.close()


async def _check_keys(settings: Settings) -> None:
    async with open_api_keys(settings) as api_keys:
        if not _is_loopback(settings.host) and not await api_keys.has_any():
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
    )


def _embedding_config(settings: Settings) -> EmbeddingConfig:
    return EmbeddingConfig(
        dtype=settings.embedding_dtype,
        max_batch_tokens=settings.max_batch_tokens,
        max_concurrent_requests=settings.max_concurrent_requests,
        num_threads=settings.num_threads,
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


def _banner(settings: Settings, *, port: int, text_model: str, models: list[str], needs_key: bool) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base_url = f"http://{host}:{port}/v1"
    key = "YOUR_KEY" if needs_key else "any"
    body = f'{{"model": "{text_model}", "prompt": "Once upon a time", "max_tokens": 32}}'
    return "\n".join(
        (
            f"openhearth {__version__} is listening on http://{host}:{port}",
            f"  models   {', '.join(models)}",
            f'  Python   OpenAI(base_url="{base_url}", api_key="{key}")',
            f"  shell    curl {base_url}/completions -H 'Authorization: Bearer {key}' "
            f"-H 'Content-Type: application/json' -d '{body}'",
        )
    )


def _is_loopback(host: str) -> bool:
    """Return whether a server bound to `host` can be reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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
