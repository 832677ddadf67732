"""A worker process and the connection to it. Starts without importing what the worker imports."""

from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock

from openhearth.engine.base import ImageModelInfo
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.image.messages import Cancel, Failed, FromWorker, Ready, Start
from openhearth.errors import ModelLoadError

_SPAWN = get_context("spawn")  # nothing of the server is inherited: no sockets, no locks, no threads
_PATIENCE_SECONDS = 5.0


class WorkerProcess:
    """One process that draws. Any thread may send; one receives."""

    def __init__(self, folder: Path, config: ImageEngineConfig) -> None:
        """Start the process and wait until its model is loaded. Raises `ModelLoadError`."""
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_main, args=(theirs, folder, config), name="image-worker", daemon=True)
        self._sending = Lock()
        self._process.start()
        theirs.close()
        try:
            self.info = self._await_ready(config.load_timeout_seconds)
        except BaseException:
            self.kill()
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """The id of the process."""
        return self._process.pid

    def send(self, message: Start | Cancel) -> None:
        """Send a message. Raises `OSError` if the process has gone."""
        with self._sending:
            self._connection.send(message)

    def receive(self) -> FromWorker:
        """Wait for a message. Raises `EOFError` or `OSError` if the process has gone."""
        message: FromWorker = self._connection.recv()
        return message

    def kill(self) -> None:
        """End the process at once; whoever receives learns that it has gone."""
        self._process.kill()

    def close(self) -> int | None:
        """Wait for the end of the process, by force if need be, and return its exit code."""
        self._connection.close()
        self._process.join(_PATIENCE_SECONDS)
        self._process.kill()
        self._process.join()
        exit_code = self._process.exitcode
        self._process.close()
        return exit_code

    def _await_ready(self, timeout_seconds: float) -> ImageModelInfo:
        if not self._connection.poll(timeout_seconds):
            raise ModelLoadError(f"it was not in memory after {timeout_seconds:g} seconds.")
        try:
            message = self.receive()
        except (EOFError, OSError):
            self._process.join(_PATIENCE_SECONDS)
            raise ModelLoadError(
                f"the process that loads it ended with exit code {self._process.exitcode}; there may be too little "
                "memory for this model."
            ) from None
        match message:
            case Ready(info):
                return info
            case Failed(error):
                raise error
        raise AssertionError(message)


def _main(connection: Connection, folder: Path, config: ImageEngineConfig) -> None:
    import_module("openhearth.engine.image.worker").run(connection, folder, config)
