"""The composition root: settings in, application out. What a process is made of is put together in `components.py`."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Literal

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from rich.console import Console
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from openhearth import __version__, configs
from openhearth.api.auth import Authentication
from openhearth.api.banner import banner
from openhearth.api.dependencies import Services
from openhearth.api.error_handlers import handle_api_error, handle_http_exception, handle_validation_error
from openhearth.api.middleware import BodyLimit, HostCheck, RequestContext
from openhearth.api.rate_limits import RATE_LIMIT_HEADERS, RateLimiting
from openhearth.api.routes import FILE_PATHS, ROUTERS
from openhearth.api.server import Server, bind, is_loopback
from openhearth.catalog.catalog import Catalog
from openhearth.components import Components
from openhearth.errors import APIError, ConfigurationError
from openhearth.executor.local import LocalExecutor
from openhearth.jobs.worker import working
from openhearth.services.api_keys import DEFAULT_PROJECT, APIKeys
from openhearth.services.exports import ExportFormat, Exports
from openhearth.services.model_host import Loaders
from openhearth.services.training_config import find_training_obstacle
from openhearth.services.training_estimates import TrainingEstimate, TrainingEstimates
from openhearth.settings import Settings
from openhearth.tasks.housekeeping import keep_house
from openhearth.training.spec import TrainingMethod

_EXPOSED_HEADERS = (
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "x-request-id",
    "retry-after-ms",
    *RATE_LIMIT_HEADERS,
)


def serve(settings: Settings, *, loaders: Loaders | None = None) -> int:
    """Serve the API until a signal ends it, and return the exit code.

    Raises `ConfigurationError` or `ModelLoadError` with what the operator has to change.
    """
    asyncio.run(_check_keys(settings))
    components = Components(settings)
    app = _application(components, loaders or configs.loaders(settings))
    sockets = bind(settings.host, settings.port)
    services: Services = app.state.services

    async def announce() -> None:
        await services.host.ready()
        greeting = banner(
            host=settings.host,
            port=sockets[0].getsockname()[1],
            text_model=components.catalog.resolve(settings.text_model).id,
            models=[model.id for model in (await services.models.list(DEFAULT_PROJECT)).data],
            needs_key=await services.api_keys.are_required(),
        )
        Console(soft_wrap=True, highlight=False, markup=False).print(greeting)

    server = Server(app, drain_timeout_seconds=settings.drain_timeout_seconds, on_listening=announce)
    server.serve_on(sockets)
    return 0


def build(settings: Settings, *, catalog: Catalog, loaders: Loaders) -> FastAPI:
    """Return the application. It opens the home's database and loads the default models when it is started."""
    return _application(Components(settings, catalog=catalog), loaders)


def work(settings: Settings) -> None:
    """Carry out queued work until a signal ends this process; beside a server, or other workers, on the same home."""
    with suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(_work(Components(settings)))


@asynccontextmanager
async def open_api_keys(settings: Settings) -> AsyncIterator[APIKeys]:
    """Give the keys of a home, whether or not a server is running on it."""
    components = Components(settings)
    async with components.opened():
        yield components.api_keys


def export(settings: Settings, name: str, target: Path, export_format: ExportFormat) -> None:
    """Write a tuned model to a directory. Raises `ConfigurationError` with what is wrong."""
    if export_format != "peft" and (obstacle := find_training_obstacle()) is not None:
        raise ConfigurationError(obstacle)

    def merge(base_model: Path, adapter: Path, target: Path, *, dtype: Literal["auto", "float32"] = "auto") -> None:
        # Loaded by name, so that nothing else waits for the tensor library.
        import_module("openhearth.training.merge").merge(base_model, adapter, target, dtype=dtype)

    async def run() -> None:
        components = Components(settings)
        exports = Exports(components.database, components.training_files, components.catalog, merge=merge)
        async with components.opened():
            await exports.export(name, target, export_format)

    asyncio.run(run())


def estimate_training(
    settings: Settings, file: Path, method: TrainingMethod, base_model: Path, num_examples: int, n_epochs: int | None
) -> TrainingEstimate:
    """Say how long it would take to train a model on a file here. Raises `ConfigurationError` if it cannot be."""
    config = configs.training_config(settings)
    estimates = TrainingEstimates(LocalExecutor(num_threads=config.num_threads, niceness=0), config)
    return asyncio.run(estimates.estimate(file, method, base_model, num_examples=num_examples, n_epochs=n_epochs))


def _application(components: Components, loaders: Loaders) -> FastAPI:
    services = components.services(loaders)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with components.opened():
            await services.fine_tuning.start()
            services.host.start()
            try:
                async with keep_house(components.housekeeping, services.image_links), AsyncExitStack() as stack:
                    if components.settings.worker:
                        worker = await stack.enter_async_context(components.worker())
                        await stack.enter_async_context(working(worker))
                    yield
            finally:
                await services.host.close()

    app = FastAPI(
        title="openhearth",
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(components),
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


async def _work(components: Components) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    async with components.opened(), components.worker() as worker:
        await worker.run()


async def _check_keys(settings: Settings) -> None:
    async with open_api_keys(settings) as api_keys:
        if not is_loopback(settings.host) and not await api_keys.has_any():
            raise ConfigurationError(
                f"A server on {settings.host} can be reached by others, so it needs a key first: run "
                "`openhearth keys create NAME`, or bind it to 127.0.0.1."
            )


def _middleware(components: Components) -> list[Middleware]:
    """Return the layers around the routes, outermost first."""
    settings = components.settings
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
        Middleware(Authentication, api_keys=components.api_keys),
        Middleware(RateLimiting, limits=components.rate_limits),
        Middleware(BodyLimit, max_bytes=settings.max_request_body_bytes, exempt=FILE_PATHS),
    ]
