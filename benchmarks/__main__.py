"""Runs every benchmark, one after the other: `python -m benchmarks`."""

import subprocess
import sys
from pathlib import Path

_NO_BENCHMARKS = ("__init__.py", "__main__.py", "environment.py", "tuning_home.py")


def main() -> int:
    """Run them all; return 1 if one failed."""
    folder = Path(__file__).parent
    names = sorted(file.stem for file in folder.glob("*.py") if file.name not in _NO_BENCHMARKS)
    failed = [name for name in names if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
