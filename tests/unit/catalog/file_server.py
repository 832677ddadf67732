"""A web server on this machine that serves one file and misbehaves on request."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class FileServer:
    """Serves `content`. Each entry of `plan` decides one answer: a status to fail with, or how many bytes to send
    before the line breaks; once the plan is used up, answers are whole.
    """

    content: bytes
    understands_ranges: bool = True
    plan: list[tuple[str, int]] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    """Serve until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            server.ranges.append(wanted)
            step, amount = server.plan.pop(0) if server.plan else ("send", len(server.content))
            if step == "status":
                self.send_error(amount)
                return
            offset = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.understands_ranges else 0
            body = server.content[offset:]
            self.send_response(206 if offset else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:amount])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}/file.whl"
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        http.shutdown()
        thread.join()
