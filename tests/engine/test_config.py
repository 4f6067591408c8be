"""Every default in one place, each value checked, and the same in configs/engine.yaml."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamsv.config import from_mapping, load, to_mapping
from streamsv.engine import EngineConfig
from streamsv.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "configs" / "engine.yaml"

NOT_ALLOWED = [
    ("update_every_hops", 0),
    ("candidates_shown", 0),
    ("gate.mode", 4),
    ("gate.pre_roll_ms", 50),
    ("gate.hangover_ms", -30),
    ("gate.onset_frames", 0),
    ("gate.min_level_dbfs", 3.0),
    ("decision.accept_llr", float("nan")),
    ("decision.accept_llr", 3.0),
    ("decision.reject_llr", float("inf")),
    ("decision.min_net_speech_s", -1.0),
    ("decision.max_net_speech_s", 0.5),
    ("decision.target_far", {"wideband": 0.0}),
    ("decision.target_far", {"telephone": 1.0}),
    ("quality.max_clipped_fraction", 1.5),
    ("quality.max_clipped_fraction", float("nan")),
    ("quality.min_snr_db", float("nan")),
    ("quality.min_speech_dbfs", float("-inf")),
    ("quality.repeat_s", -1.0),
    ("quality.repeat_s", float("inf")),
    ("enrollment.wanted_net_speech_s", 0.0),
    ("enrollment.wanted_net_speech_s", 1.0),
    ("enrollment.wanted_net_speech_s", float("inf")),
    ("enrollment.min_net_speech_s", -4.0),
    ("enrollment.min_recording_s", float("nan")),
    ("enrollment.min_cohesion", 1.1),
    ("enrollment.min_cohesion", float("nan")),
    ("enrollment.stretch_s", 0.01),
    ("enrollment.stretch_s", 61.0),
    ("update_every_hops", 751),
]


def nested(name: str, value: Any) -> dict[str, Any]:
    table, _, key = name.rpartition(".")
    return {table: {key: value}} if table else {key: value}


def test_the_shipped_file_holds_exactly_the_defaults() -> None:
    assert load(EngineConfig, SHIPPED) == EngineConfig()
    assert yaml.safe_load(SHIPPED.read_text(encoding="utf-8")) == to_mapping(EngineConfig())


def test_every_value_of_the_shipped_file_is_explained() -> None:
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        if re.match(r"\s*\w+: \S", line):
            assert re.search(r"  # \S.*\S$", line), f"no comment: {line}"


@pytest.mark.parametrize(("name", "value"), NOT_ALLOWED)
def test_a_value_that_is_not_allowed_is_an_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(EngineConfig, nested(name, value))
    assert name in caught.value.message


def test_the_defaults_survive_a_round_trip() -> None:
    config = EngineConfig(model="other.onnx", update_every_hops=3)
    assert from_mapping(EngineConfig, to_mapping(config)) == config


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EngineConfig().candidates_shown = 3  # type: ignore[misc]
