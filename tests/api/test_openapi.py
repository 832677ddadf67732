"""Our own OpenAPI document, and whatever a machine makes of it."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from tests.servers import MODEL, RunningServer

NUM_EXAMPLES = 1000
"""In each of the two modes."""


@pytest.fixture(scope="session")
def operations(server: RunningServer) -> list[Any]:
    """Read all operations in the document that the server publishes."""
    schema: Any = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


def test_operations(operations: list[Any]) -> None:
    """The document names every route."""
    labels = {operation.label for operation in operations}

    assert {"POST /v1/completions", "GET /v1/models", "GET /health"} <= labels


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_any_request(operations: list[Any], mode: GenerationMode) -> None:
    """Whatever is sent, right or wrong, the server never fails, and every refusal has an error object."""
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for operation in operations))

    @given(case=cases)
    @settings(max_examples=NUM_EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def send(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = MODEL
        response = case.call()

        case.validate_response(response, checks=[not_a_server_error])
        if response.status_code >= 400:
            assert sorted(response.json()["error"]) == ["code", "message", "param", "type"]
        assert "x-request-id" in response.headers

    send()
