"""``configs/serve.yaml`` and the built-in defaults are the same; a wrong value is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from streamsv.config import from_mapping, load, to_mapping
from streamsv.errors import ConfigError
from streamsv.server.config import ServeConfig

ROOT = Path(__file__).resolve().parents[2]


def test_the_file_equals_the_built_in_defaults() -> None:
    path = ROOT / "configs" / "serve.yaml"
    assert load(ServeConfig, path) == ServeConfig()
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == to_mapping(ServeConfig())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"port": 65_536}, "port must be"),
        ({"drain_s": -1}, "drain_s must be"),
        ({"tls": {"key": "key.pem"}}, "tls.certificate and tls.key go together"),
        ({"media": {"idle_s": 0}}, "media.idle_s must be"),
        ({"media": {"inbox_s": 0.1}}, "media.inbox_s must be at least"),
        ({"media": {"max_json_bytes": 10**6}}, "media.max_json_bytes must be at most"),
        ({"worker": {"threads": 0}}, "worker.threads must be"),
        ({"worker": {"pause_ms": 1001}}, "worker.pause_ms must be"),
        ({"admission": {"retry_s": 0}}, "admission.retry_s must be"),
        ({"results": {"max_kept": -5}}, "results.max_kept must be"),
        ({"limits": {"sessions_per_key": 0}}, "limits.sessions_per_key must be"),
        ({"rest": {"metrics_access": "all"}}, "rest.metrics_access must be one of"),
        ({"rest": {"upload_s": 0}}, "rest.upload_s must be"),
        ({"audit": {"max_bytes": 1}}, "audit.max_bytes must be"),
        ({"webhooks": {"attempts": 0}}, "webhooks.attempts must be"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        from_mapping(ServeConfig, values)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("example.org", False),
    ],
)
def test_only_loopback_addresses_count_as_such(host: str, is_loopback: bool) -> None:
    assert ServeConfig(host=host).is_loopback is is_loopback
