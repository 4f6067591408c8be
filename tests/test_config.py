"""Dataclasses from YAML: what is wrong is named, and what is right survives a round trip."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streamsv.config import from_mapping, load, to_mapping
from streamsv.engine import EngineConfig
from streamsv.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    pair: tuple[int, int] = (1, 2)
    shapes: tuple[tuple[int, float], ...] = ((1, 2.0),)


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    count: int = 3
    is_on: bool = False
    path: str | None = None
    limit: float | None = None
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    inner: Inner = dataclasses.field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError("count must be 0 or more.", self.count)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
OUTERS = st.builds(
    Outer,
    name=st.text(),
    count=st.integers(0, 10**9),
    is_on=st.booleans(),
    path=st.none() | st.text(),
    limit=st.none() | NUMBERS,
    weights=st.dictionaries(st.text(), NUMBERS, max_size=3),
    inner=st.builds(
        Inner,
        rate=NUMBERS,
        pair=st.tuples(st.integers(), st.integers()),
        shapes=st.lists(st.tuples(st.integers(), NUMBERS), max_size=3).map(tuple),
    ),
)

COMPLAINTS = [
    ({}, "name is missing"),
    ({"name": "x", "nane": 1}, "nane is not a key; known here are count, inner, is_on, limit"),
    ({"name": "x", 7: 1}, "7 is not a key"),
    ({"name": None}, "name is None; expected text"),
    ({"name": 5}, "name is 5; expected text"),
    ({"name": "x", "count": 1.0}, "count is 1.0; expected a whole number"),
    ({"name": "x", "count": True}, "count is True; expected a whole number"),
    ({"name": "x", "count": None}, "count is None; expected a whole number"),
    ({"name": "x", "count": -1}, "count must be 0 or more"),
    ({"name": "x", "is_on": 1}, "is_on is 1; expected true or false"),
    ({"name": "x", "is_on": "yes"}, "is_on is 'yes'; expected true or false"),
    ({"name": "x", "path": 3}, "path is 3; expected text"),
    ({"name": "x", "limit": "3"}, "limit is '3'; expected a number"),
    ({"name": "x", "limit": 10**400}, "limit is too large"),
    ({"name": "x", "weights": [1]}, r"weights is \[1\]; expected a table"),
    ({"name": "x", "weights": {"a": "b"}}, r"weights\.a is 'b'; expected a number"),
    ({"name": "x", "inner": None}, "inner must be a table"),
    ({"name": "x", "inner": [1]}, "inner must be a table"),
    ({"name": "x", "inner": {"rat": 1}}, r"inner\.rat is not a key; known here are pair, rate"),
    ({"name": "x", "inner": {"rate": "1"}}, r"inner\.rate is '1'; expected a number"),
    ({"name": "x", "inner": {"rate": True}}, r"inner\.rate is True; expected a number"),
    ({"name": "x", "inner": {"pair": 1}}, r"inner\.pair is 1; expected a list"),
    ({"name": "x", "inner": {"pair": [1, 2, 3]}}, r"inner\.pair needs 2 values, not 3"),
    ({"name": "x", "inner": {"pair": [1, 2.5]}}, r"inner\.pair\[1\] is 2\.5; expected a whole"),
    ({"name": "x", "inner": {"shapes": [[1, 2], [3]]}}, r"inner\.shapes\[1\] needs 2 values"),
    ({"name": "x", "inner": {"shapes": [[1, None]]}}, r"inner\.shapes\[0\]\[1\] is None"),
]


@pytest.mark.parametrize(("values", "complaint"), COMPLAINTS)
def test_every_complaint_names_the_key_and_what_is_allowed(
    values: dict[Any, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        from_mapping(Outer, values)


@pytest.mark.parametrize("values", [[1], "text", 3])
def test_what_is_no_table_at_all_is_an_error(values: Any) -> None:
    with pytest.raises(ConfigError, match="The file must be a table"):
        from_mapping(Outer, values)


def test_lists_become_tuples_and_whole_numbers_floats() -> None:
    values = {
        "name": "x",
        "limit": 2,
        "weights": {"a": 1},
        "inner": {"rate": 1, "pair": [3, 4], "shapes": [[1, 2], [3, 4]]},
    }
    built = from_mapping(Outer, values)
    assert built.inner == Inner(1.0, (3, 4), ((1, 2.0), (3, 4.0)))
    assert isinstance(built.inner.rate, float)
    assert isinstance(built.limit, float)
    assert built.weights == {"a": 1.0}


@given(config=OUTERS)
def test_a_configuration_survives_a_round_trip(config: Outer) -> None:
    assert from_mapping(Outer, to_mapping(config)) == config


@given(config=OUTERS)
def test_a_configuration_survives_a_round_trip_through_yaml(config: Outer) -> None:
    text = yaml.safe_dump(to_mapping(config), allow_unicode=False)
    assert from_mapping(Outer, yaml.safe_load(text)) == config


@given(
    update_every_hops=st.integers(1, 100),
    min_net_speech_s=st.floats(0, 19),
    mode=st.integers(0, 3),
    max_clipped_fraction=st.floats(0, 1),
)
def test_an_engine_configuration_survives_a_round_trip(
    update_every_hops: int, min_net_speech_s: float, mode: int, max_clipped_fraction: float
) -> None:
    config = EngineConfig(update_every_hops=update_every_hops)
    config = dataclasses.replace(
        config,
        gate=dataclasses.replace(config.gate, mode=mode),
        decision=dataclasses.replace(config.decision, min_net_speech_s=min_net_speech_s),
        quality=dataclasses.replace(config.quality, max_clipped_fraction=max_clipped_fraction),
    )
    assert from_mapping(EngineConfig, to_mapping(config)) == config


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "engine.yaml"
    path.write_text("gate:\n  mode: 3\n")
    config = load(EngineConfig, path)
    assert config.gate.mode == 3
    assert dataclasses.replace(config, gate=EngineConfig().gate) == EngineConfig()


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "engine.yaml"
    path.write_text(text)
    assert load(EngineConfig, path) == EngineConfig()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gate: [", "is not YAML"),
        ("gate:\n\tmode: 2", "is not YAML"),
        ("model: 2025-13-01", "is not YAML"),
        ("!!python/object:os.system {}", "is not YAML"),
        ("- gate\n", "The file must be a table"),
        ("gate:\n  mod: 2\n", r"gate\.mod is not a key; known here are"),
        ("gate:\n", r"gate must be a table"),
        ("decision:\n  accept_llr: high\n", r"decision\.accept_llr is 'high'; expected a number"),
        (
            "decision:\n  accept_llr: .nan\n  reject_llr: 0.0\n",
            r"decision\.accept_llr must be a finite number",
        ),
        ("model: 5\n", "model is 5; expected text"),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_key(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml.*{complaint}"):
        load(EngineConfig, path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no file .*none\.yaml\."):
        load(EngineConfig, tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "noise.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match=r"noise\.yaml cannot be read"):
        load(EngineConfig, path)


def test_plain_values_share_nothing_with_the_configuration() -> None:
    config = Outer("x", weights={"a": 1.0})
    plain = to_mapping(config)
    plain["weights"]["a"] = math.pi
    plain["inner"]["pair"].append(3)
    assert config == Outer("x", weights={"a": 1.0})
