"""What holds for every route: errors, headers, hosts, body limits (contract: conventions)."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from openhearth.engine.fake.engine import FakeTextEngine
from tests.servers import MODEL, RunningServer, make_settings, run_server


def error(response: httpx2.Response) -> dict[str, str | None]:
    """Return the error object of a failure, which has exactly the four members."""
    body = response.json()
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["code", "message", "param", "type"]
    found: dict[str, str | None] = body["error"]
    return found


class TestErrors:
    """Every failure has an error object."""

    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/v1/x"), ("GET", "/"), ("GET", "/v1/models/"), ("GET", "/v1")]
    )
    def test_unknown_url(self, http: httpx2.Client, method: str, path: str) -> None:
        """An unknown URL is a 404 that repeats it."""
        response = http.request(method, path)

        assert response.status_code == 404
        assert error(response)["type"] == "invalid_request_error"
        if path != "/v1/models/":
            assert error(response)["message"] == f"Invalid URL ({method} {path})"

    def test_wrong_method(self, http: httpx2.Client) -> None:
        """A wrong method on a known URL is a 405 that says which are right."""
        response = http.get("/v1/completions")

        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        assert error(response)["code"] == "method_not_supported"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"5",
            b'"text"',
            b'{"model": NaN}',
            b'{"model": "\\ud800"}',
            b'{"model": "\xff"}',
            b"[" * 5000,
            b'{"model": "m", "n": ' + b"9" * 5000 + b"}",
        ],
    )
    def test_broken_json(self, http: httpx2.Client, content: bytes) -> None:
        """A body that is not a JSON object, by the letter, is a 400."""
        response = http.post("/v1/completions", content=content, headers={"content-type": "application/json"})

        assert response.status_code == 400
        assert error(response)["type"] == "invalid_request_error"

    def test_words_for_broken_json(self, http: httpx2.Client) -> None:
        """The message for broken JSON says what to send."""
        response = http.post("/v1/completions", content=b"{", headers={"content-type": "application/json"})

        assert (error(response)["message"] or "").startswith("We could not parse the JSON body of your request.")

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
    def test_content_type(self, http: httpx2.Client, content_type: str | None) -> None:
        """Only JSON is read as JSON, so that no web page can send a request without asking first."""
        headers = {"content-type": content_type} if content_type else {}

        response = http.post("/v1/completions", content=b'{"model": "fake-model"}', headers=headers)

        assert response.status_code == 400
        assert "Content-Type: application/json" in (error(response)["message"] or "")

    def test_missing_model(self, http: httpx2.Client) -> None:
        """A request without a model gets the service's own words."""
        response = http.post("/v1/completions", json={"prompt": "abc"})

        assert error(response) == {
            "message": "you must provide a model parameter",
            "type": "invalid_request_error",
            "param": "model",
            "code": "missing_required_parameter",
        }

    def test_announced_oversize(self, http: httpx2.Client) -> None:
        """A body that announces more than the limit is refused."""
        response = http.post("/v1/completions", json={"model": MODEL, "prompt": "x" * 2**20})

        assert response.status_code == 413
        assert error(response)["type"] == "invalid_request_error"

    def test_streamed_oversize(self, http: httpx2.Client) -> None:
        """A body that comes in pieces is refused as soon as it is over the limit."""

        def pieces() -> Iterator[bytes]:
            for _ in range(100):
                yield b" " * 2**15

        response = http.post("/v1/completions", content=pieces(), headers={"content-type": "application/json"})

        assert response.status_code == 413
        assert error(response)["code"] is None

    def test_unexpected_failure(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A bug is a 500 that tells nothing but is logged with its traceback, and the server goes on."""

        class BrokenEngine(FakeTextEngine):
            async def encode(self, text: str, *, suffix: str | None = None) -> list[int]:
                raise ZeroDivisionError("secret prompt")

        with (
            run_server(make_settings(tmp_path), BrokenEngine()) as running,
            httpx2.Client(base_url=running.url) as http,
        ):
            response = http.post("/v1/completions", json={"model": MODEL, "prompt": "abc"})
            after = http.get("/health")

        assert response.status_code == 500
        assert response.headers["x-request-id"]
        assert error(response)["type"] == "server_error"
        assert "secret" not in response.text
        events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        assert any(isinstance(event.get("exc_info"), ZeroDivisionError) for event in events)
        assert after.status_code == 200


class TestHeaders:
    """Headers of every answer."""

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/v1/models"), ("GET", "/nowhere"), ("PUT", "/v1/completions")]
    )
    def test_every_answer(self, http: httpx2.Client, method: str, path: str) -> None:
        """Every answer has an id of its own, its processing time and the API's version, errors included."""
        responses = [http.request(method, path) for _ in range(2)]

        assert all(re.fullmatch("req_[0-9a-f]{32}", response.headers["x-request-id"]) for response in responses)
        assert responses[0].headers["x-request-id"] != responses[1].headers["x-request-id"]
        assert all(response.headers["openai-processing-ms"].isdigit() for response in responses)
        assert all(response.headers["openai-version"] == "2020-10-01" for response in responses)

    @pytest.mark.parametrize("value", [b"x" * 513, "ü".encode()])
    def test_bad_client_request_id(self, http: httpx2.Client, value: bytes) -> None:
        """A client's own id has to be ASCII and short."""
        response = http.get("/v1/models", headers={b"X-Client-Request-Id": value})

        assert response.status_code == 400
        assert error(response)["param"] == "X-Client-Request-Id"

    def test_good_client_request_id(self, http: httpx2.Client) -> None:
        """A client may send an id of its own."""
        assert http.get("/v1/models", headers={"X-Client-Request-Id": "x" * 512}).status_code == 200

    def test_no_cors_by_default(self, http: httpx2.Client) -> None:
        """No web page may read an answer unless the operator allows it."""
        response = http.get("/v1/models", headers={"Origin": "https://example.com"})

        assert "access-control-allow-origin" not in response.headers

    def test_cors_when_configured(self, tmp_path: Path) -> None:
        """Allowed origins may, with a preflight that needs no key."""
        settings = make_settings(tmp_path, cors_allow_origins=["https://example.com"])
        headers = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
        with run_server(settings, FakeTextEngine()) as running, httpx2.Client(base_url=running.url) as http:
            preflight = http.options("/v1/completions", headers=headers)
            answer = http.get("/v1/models", headers={"Origin": "https://example.com"})
            other = http.get("/v1/models", headers={"Origin": "https://evil.example"})

        assert preflight.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://example.com"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in other.headers


class TestHosts:
    """Names under which the server answers."""

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
    def test_own_names(self, http: httpx2.Client, host: str) -> None:
        """The bound address and the names of this machine are right, with any port."""
        assert http.get("/health", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "10.0.0.1"]
    )
    def test_other_names(self, http: httpx2.Client, host: str) -> None:
        """Any other name is refused, so that a web page cannot make its own name lead here."""
        response = http.get("/v1/models", headers={"Host": host})

        assert response.status_code == 403
        assert error(response)["code"] == "host_not_allowed"
        assert "x-request-id" in response.headers

    @pytest.mark.parametrize(("allowed", "status"), [("hearth.home", 200), ("*", 200), ("other.home", 403)])
    def test_configured_names(self, tmp_path: Path, allowed: str, status: int) -> None:
        """The operator may add names, or allow any."""
        settings = make_settings(tmp_path, allowed_hosts=[allowed])
        with run_server(settings, FakeTextEngine()) as running, httpx2.Client(base_url=running.url) as http:
            assert http.get("/v1/models", headers={"Host": "hearth.home"}).status_code == status

    def test_addresses_on_a_wildcard_bind(self, tmp_path: Path) -> None:
        """A server on all addresses answers to each of them, but to no name that it was not told."""
        settings = make_settings(tmp_path, host="0.0.0.0")
        with run_server(settings, FakeTextEngine()) as running, httpx2.Client(base_url=running.url) as http:
            assert http.get("/health", headers={"Host": "192.168.1.5:8000"}).status_code == 200
            assert http.get("/health", headers={"Host": "evil.example"}).status_code == 403


class TestOperations:
    """Health and metrics."""

    def test_health(self, http: httpx2.Client) -> None:
        """A server that can serve is healthy."""
        response = http.get("/health")

        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    def test_metrics(self, server: RunningServer, http: httpx2.Client) -> None:
        """Metrics count requests and tokens under vLLM's names."""
        server.client().completions.create(model=MODEL, prompt="abc", max_tokens=2)

        lines = http.get("/metrics").text.splitlines()

        samples = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
        }
        label = f'{{model_name="{MODEL}"}}'
        assert samples[f"openhearth:num_requests_running{label}"] == 0
        assert samples[f"openhearth:num_requests_waiting{label}"] == 0
        assert samples[f"openhearth:kv_cache_usage_perc{label}"] == 0
        assert samples[f"openhearth:prompt_tokens_total{label}"] >= 3
        assert samples[f"openhearth:generation_tokens_total{label}"] >= 2
        assert samples[f"openhearth:num_preemptions_total{label}"] == 0
        assert f"openhearth:prefix_cache_queries_total{label}" in samples
        assert f"openhearth:prefix_cache_hits_total{label}" in samples
        assert samples[f"openhearth:time_to_first_token_seconds_count{label}"] >= 1
        assert samples[f"openhearth:e2e_request_latency_seconds_count{label}"] >= 1
        assert samples[f'openhearth:request_success_total{{finished_reason="length",model_name="{MODEL}"}}'] >= 1
