"""Fitting a calibration to sets, and saying what it rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamsv.engine import Engine
from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.evaluation.evidence import KNOTS_S
from streamsv.evaluation.fit import Fitted
from streamsv.evaluation.refit import fit_with, refit
from streamsv.evaluation.tracks import TrackReader
from streamsv.scoring.calibration import Calibration

# Tests are the beginnings of the very recordings enrolled: any network finds them alike, trained
# or not.
CUTS = [
    ("a1", "voice_a_enroll", 0.0, 4.0),
    ("b1", "voice_b_call", 0.0, 4.0),
    ("c1", "voice_c_call", 0.0, 4.0),
    ("at", "voice_a_enroll", 0.0, 4.0),
    ("bt", "voice_b_call", 0.0, 4.0),
    ("ct", "voice_c_call", 0.0, 4.0),
]
TRIALS = [(e, t) for e in ("a1", "b1", "c1") for t in ("at", "bt", "ct")]


def fit_sets(encoder: Any, sets: Any, **options: Any) -> Fitted:
    return fit_with(TrackReader(encoder), sets, **options).fitted


def test_sets_are_heard_as_they_are_and_over_the_telephone(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "tiny", cuts=CUTS, trials=TRIALS)
    calibration = fit_sets(engine.encoder, [tiny], least_speakers=3).calibration
    assert calibration.fingerprint == engine.fingerprint
    assert calibration.knots_s == KNOTS_S
    assert sorted(calibration.channels) == ["mixed", "telephone", "wideband"]
    assert [(s["set"], s["channel"]) for s in calibration.fitted_on["sets"]] == [
        ("tiny", None),
        ("tiny", "telephone"),
        ("tiny", "mixed"),
    ]
    assert calibration.fitted_on["sets"][0] == {
        "set": "tiny",
        "channel": None,
        "trials": 9,
        "speakers": 3,
    }
    assert calibration.rules == {}  # three strangers support no promise
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    Engine(engine.encoder, calibration)


def test_without_the_telephone_there_is_only_what_the_sets_have(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "tiny", cuts=CUTS, trials=TRIALS)
    found = refit(engine, [tiny], telephone_too=False, least_speakers=3)
    assert list(found.fitted.calibration.channels) == ["wideband"]
    assert {row.net_speech_s for row in found.compared} <= {1.0, 3.0}


def test_people_of_two_sets_are_different(engine: Engine, make_set: Any, tmp_path: Path) -> None:
    sets = [make_set(tmp_path / name, cuts=CUTS, trials=TRIALS, rate=8_000) for name in ("x", "y")]
    calibration = fit_sets(engine.encoder, sets, least_speakers=6).calibration
    assert [s["channel"] for s in calibration.fitted_on["sets"]] == [None, None]
    knot = calibration.fitted_on["channels"]["telephone"][1]
    assert (knot["target_speakers"], knot["impostor_pairs"]) == (6, 6)


def test_sets_with_too_few_people_are_refused(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "tiny", cuts=CUTS, trials=TRIALS)
    with pytest.raises(EvaluationSetError, match="Calibrate on more people"):
        fit_sets(engine.encoder, [tiny], telephone_too=False)


def test_no_sets_and_an_unknown_spending_are_refused(engine: Engine) -> None:
    with pytest.raises(EvaluationSetError, match="nothing to fit"):
        fit_sets(engine.encoder, [])
    with pytest.raises(ConfigError, match="spending is 'all'"):
        fit_sets(engine.encoder, [], spending="all")
