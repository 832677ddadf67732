"""Tuned models by name: who may call them, which base and adapter they are made of, and how they go."""

from dataclasses import dataclass
from pathlib import Path

from openhearth.services.training_files import TrainingFiles
from openhearth.store.database import Database
from openhearth.store.tables import TunedModelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedModel:
    """A name that answers: `base_model` with the PEFT adapter in the directory `path`. `created_at` in Unix seconds."""

    name: str
    project: str
    base_model: str
    path: Path
    created_at: float


class TunedModels:
    """The tuned models of all projects. To a project that may not call a model, it does not exist."""

    def __init__(self, database: Database, files: TrainingFiles) -> None:
        self._database = database
        self._files = files

    async def find(self, project: str, name: str) -> TunedModel | None:
        """Return a model that this project may call, or `None`."""
        if not name.startswith("ft:"):
            return None
        async with self._database.read() as tx:
            row = await tx.tuned_models.find_usable(project, name)
        return None if row is None else self._model(row)

    async def list(self, project: str) -> list[TunedModel]:
        """Return all models that this project may call, oldest first."""
        async with self._database.read() as tx:
            return [self._model(row) for row in await tx.tuned_models.list_usable(project)]

    async def delete(self, model: TunedModel) -> None:
        """Remove a model for good; its adapter goes with the last name that stands for it."""
        async with self._database.transaction() as tx:
            row = await tx.tuned_models.find(model.name)
            if row is None:
                return
            await tx.tuned_models.delete(row.name)
            await tx.fine_tuning.unlist_checkpoint(row.name)
            is_last = await tx.tuned_models.count_at(row.directory) == 0
            is_needed = (await tx.fine_tuning.get(row.fine_tuning_job_id)).status in ("queued", "running", "paused")
        if is_last and not is_needed:
            await self._files.remove(row.directory)

    def _model(self, row: TunedModelRow) -> TunedModel:
        return TunedModel(
            name=row.name,
            project=row.project,
            base_model=row.base_model,
            path=self._files.path(row.directory),
            created_at=row.created_at,
        )
