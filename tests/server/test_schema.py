"""Whatever is sent to the REST interface, no answer is a 5xx: schemathesis, on a real socket."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error

OPERATIONS = 9


@pytest.mark.slow
def test_no_input_leads_to_a_5xx(serve: Callable[..., Any]) -> None:
    live = serve()
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=10)
    connection.request("GET", "/openapi.json")
    schema = schemathesis.openapi.from_dict(json.loads(connection.getresponse().read()))
    connection.close()
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        def sent(case: Any) -> None:
            answer = case.call(base_url=f"http://127.0.0.1:{live.port}")
            case.validate_response(answer, checks=[not_a_server_error])
            if answer.status_code >= 400:
                assert {"code", "message", "value"} <= set(answer.json()["error"])

        sent()
        tried.append(operation.label)
    assert len(tried) >= OPERATIONS
