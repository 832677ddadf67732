"""For whoever runs the server: whether it can serve, and what it is doing. Needs no key."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from openhearth.api.dependencies import ServicesOf
from openhearth.errors import ServiceUnavailableError

router = APIRouter(tags=["Operations"])


@router.get("/health")
async def health(services: ServicesOf) -> dict[str, str]:
    """Answer 200 if requests can be served, 503 while the default model is still being loaded."""
    if not services.host.is_ready:
        raise ServiceUnavailableError("The default model is still being loaded.")
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
async def metrics(services: ServicesOf) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
