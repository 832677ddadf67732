"""The few routes of the Hugging Face hub that fetching a model needs, served from a folder of this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40


@dataclass
class HubServer:
    """Serves each repository of `repositories` from its folder; the revisions are `main` and `v1`.

    A repository in `gated` is refused as one whose conditions were not accepted.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    served: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving_hub(hub: HubServer) -> Iterator[HubServer]:
    """Serve until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(sends_body=False)

        def do_GET(self) -> None:
            self._answer(sends_body=True)

        def _answer(self, *, sends_body: bool) -> None:
            path = unquote(urlsplit(self.path).path).removeprefix("/").removeprefix("api/models/")
            organisation, model, route, revision, *file = path.split("/", 4)
            repository = f"{organisation}/{model}"
            folder = hub.repositories.get(repository)
            headers, body = {"X-Repo-Commit": COMMIT}, b""
            if folder is None:
                status, headers = 404, {"X-Error-Code": "RepoNotFound"}
            elif repository in hub.gated:
                status, headers = 403, {"X-Error-Code": "GatedRepo"}
            elif revision not in ("main", "v1", COMMIT):
                status, headers = 404, {"X-Error-Code": "RevisionNotFound"}
            elif route == "resolve":
                status, body = 200, (folder / file[0]).read_bytes()
                headers["ETag"] = f'"{sha1(body).hexdigest()}"'
                if sends_body:
                    hub.served.append(file[0])
            else:
                status, body = 200, json.dumps(_description(folder, repository, route)).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if sends_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        hub.url = f"http://127.0.0.1:{http.server_port}"
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield hub
        http.shutdown()
        thread.join()


def _description(folder: Path, repository: str, route: str) -> object:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    if route == "tree":
        return [
            {
                "type": "file",
                "path": str(file.relative_to(folder)),
                "size": file.stat().st_size,
                "oid": sha1(file.read_bytes()).hexdigest(),
            }
            for file in files
        ]
    siblings = [{"rfilename": str(file.relative_to(folder))} for file in files]
    return {"id": repository, "sha": COMMIT, "siblings": siblings}
