from __future__ import annotations

import json
from typing import Any

import pytest

from streamsv.errors import ConfigError
from streamsv.nn.paper.config import PaperConfig


def test_a_config_survives_the_way_through_json() -> None:
    config = PaperConfig(depth=17, frames=99, token_hidden=396, dropout=0.0)
    assert PaperConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_absent_fields_take_the_paper_s_values() -> None:
    config = PaperConfig.from_dict({"depth": 17})
    assert (config.dim, config.frames, config.groups, config.token_hidden) == (1024, 149, 8, 596)
    assert config == PaperConfig(depth=17)


def test_unknown_keys_are_named_beside_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"dept, heads.*use one of: depth, dim") as caught:
        PaperConfig.from_dict({"heads": 16, "dept": 5})
    assert caught.value.value == "dept, heads"


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("depth", 0, "whole number from 1 up"),
        ("depth", 2.5, "whole number from 1 up"),
        ("depth", True, "whole number from 1 up"),
        ("dim", "1024", "whole number from 1 up"),
        ("frames", 1, "whole number from 2 up"),
        ("dropout", 1.0, r"number in \[0, 1\)"),
        ("dropout", "0.1", r"number in \[0, 1\)"),
        ("groups", 7, "multiple of 7"),
        ("res2_scale", 3, "multiple of 3"),
    ],
)
def test_a_value_that_cannot_be_built_is_refused_with_what_is_allowed(
    field: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{field}.*{allowed}"):
        PaperConfig.from_dict({field: value})


def test_a_clip_of_149_frames_is_three_seconds() -> None:
    assert PaperConfig().clip_samples == 3 * 16_000
