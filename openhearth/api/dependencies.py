"""What handlers ask for: the services of the app, the project of the request, and what it may take."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from openhearth.services.api_keys import APIKeys
from openhearth.services.chat_completions import ChatCompletions
from openhearth.services.checkpoint_permissions import CheckpointPermissions
from openhearth.services.completions import Completions
from openhearth.services.embeddings import Embeddings
from openhearth.services.files import Files
from openhearth.services.fine_tuning import FineTuning
from openhearth.services.image_inputs import Inboxes
from openhearth.services.image_links import ImageLinks
from openhearth.services.image_references import ImageReferences
from openhearth.services.images import Images
from openhearth.services.metrics import Metrics
from openhearth.services.model_host import ModelHost
from openhearth.services.models import Models
from openhearth.services.rate_limits import Allowance
from openhearth.services.uploads import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Every service that a handler may ask for; `app.py` puts them together."""

    api_keys: APIKeys
    chat_completions: ChatCompletions
    checkpoint_permissions: CheckpointPermissions
    completions: Completions
    embeddings: Embeddings
    files: Files
    fine_tuning: FineTuning
    host: ModelHost
    image_links: ImageLinks
    image_references: ImageReferences
    images: Images
    inboxes: Inboxes
    metrics: Metrics
    models: Models
    uploads: Uploads


def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


def _project(request: Request) -> str:
    return cast("str", request.state.project)


def _allowance(request: Request) -> Allowance:
    return cast("Allowance", request.state.allowance)


AllowanceOf = Annotated[Allowance, Depends(_allowance)]
ServicesOf = Annotated[Services, Depends(_services)]
ProjectOf = Annotated[str, Depends(_project)]
