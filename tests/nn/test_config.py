from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from streamsv.errors import ConfigError
from streamsv.nn.config import ModelConfig


def test_a_config_survives_json() -> None:
    config = ModelConfig(dim=64, group_groups=8, token_kernels=(5, 3), pooling="xi")
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("front_end", "mfcc"),
        ("memory", "attention"),
        ("activation", "relu"),
        ("pooling", "mean"),
        ("depth", 0),
        ("summary_dim", 0),
        ("toeplitz_length", 0),
        ("half_rate_hidden", -1),
        ("group_kernel", 0),
        ("channel_groups", 0),
        ("channel_groups", 3),
        ("group_groups", 100),
        ("log_floor", 0.0),
        ("log_floor", float("nan")),
        ("norm_prior_s", -0.1),
        ("dropout", 1.0),
        ("token_kernels", (7,)),
        ("token_kernels", (7, 0)),
    ],
)
def test_a_value_that_no_network_can_have_is_an_error_that_names_its_key(
    key: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        dataclasses.replace(ModelConfig(), **{key: value})


@pytest.mark.parametrize("hidden", ["channel_hidden", "half_rate_hidden"])
def test_groups_that_do_not_divide_a_hidden_width_are_an_error(hidden: str) -> None:
    values: dict[str, Any] = {hidden: 42}
    with pytest.raises(ConfigError, match=f"model.channel_groups is 4.*model.{hidden}"):
        ModelConfig(channel_groups=4, **values)


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ConfigError, match="layers"):
        ModelConfig.from_dict({"layers": 6})
