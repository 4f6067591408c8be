"""One tree of errors, each with a code of its own and a form for JSON."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import numpy as np
import pytest

from streamsv import errors
from streamsv.errors import StreamsvError

CLASSES: list[type[StreamsvError]] = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, StreamsvError)
]

NAMES = {
    "UnsupportedAudio",
    "AudioDeviceError",
    "NotEnoughSpeech",
    "InconsistentEnrollment",
    "UnknownSpeaker",
    "VoiceprintExists",
    "ModelMismatch",
    "ModelLoadError",
    "ConfigError",
    "StoreError",
    "ProtocolError",
    "AuthenticationError",
    "CapacityError",
    "SessionClosed",
}


def test_the_tree_has_every_error_of_the_house() -> None:
    assert {error.__name__ for error in CLASSES} >= NAMES


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [error.code for error in CLASSES]
    assert len(set(codes)) == len(codes)
    for error in CLASSES:
        assert "code" in vars(error)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_an_error_is_its_sentence(error: type[StreamsvError]) -> None:
    one = error("Something is wrong. Do this.", 3)
    assert str(one) == one.message == "Something is wrong. Do this."
    assert one.value == 3
    assert isinstance(one, StreamsvError)
    assert error.__doc__


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (3, 3),
        (1.5, 1.5),
        (True, True),
        ("text", "text"),
        ((1, 2), "(1, 2)"),
        (np.float32(0.5), "0.5"),
        (b"\xff", "b'\\xff'"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_an_error_is_ready_for_json(value: Any, shown: Any) -> None:
    plain = errors.ConfigError("Wrong.", value).to_dict()
    assert list(plain) == ["type", "code", "message", "value"]
    back = json.loads(json.dumps(plain, allow_nan=False))
    assert back == {"type": "error", "code": "config", "message": "Wrong.", "value": shown}


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_an_error_survives_a_pickle(error: type[StreamsvError]) -> None:
    one = pickle.loads(pickle.dumps(error("Wrong.", 3)))
    assert type(one) is error
    assert (one.message, one.value) == ("Wrong.", 3)
