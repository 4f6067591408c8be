"""Fitting a calibration to sets, and to cosines made up so that the answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsv.engine import Engine
from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.evaluation.curves import KnotTrials
from streamsv.evaluation.fit import fit_channels, fit_sets, neutral_calibration
from streamsv.scoring.calibration import Calibration
from streamsv.scoring.metrics import cllr, min_cllr

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
KNOTS_S = (0.5, 2.0)


def made_up(net_speech_s: float, seed: int) -> KnotTrials:
    """30 people; the longer the test, the less the cosines scatter."""
    draw = np.random.default_rng(seed)
    pairs = [(f"p{e}", f"p{t}") for e in range(30) for t in range(30)]
    enrolled, tested = zip(*pairs, strict=True)
    means = np.array([0.5 if e == t else 0.1 for e, t in pairs])
    deviation = 0.2 / np.sqrt(min(net_speech_s, 4.0))
    return KnotTrials(net_speech_s, draw.normal(means, deviation), enrolled, tested)


def test_made_up_cosines_are_calibrated_also_on_others_of_their_kind() -> None:
    knots_s = (0.5, 1.0, 3.0, 10.0)
    calibration = fit_channels("f", {"wideband": [made_up(s, seed=0) for s in knots_s]})
    for knot_s in knots_s:
        targets, impostors = made_up(knot_s, seed=1).sides
        llrs = (calibration.llr(side, knot_s, "wideband") for side in (targets, impostors))
        cost = cllr(*llrs)
        assert cost < 0.9
        assert cost < min_cllr(targets, impostors) + 0.1


def test_what_it_was_fitted_on_is_counted_by_channel_and_knot(tmp_path: Path) -> None:
    calibration = fit_channels(
        "f", {"telephone": [made_up(s, seed=0) for s in (1.0, 3.0)]}, fitted_on={"sets": ["x"]}
    )
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    assert calibration.fitted_on["sets"] == ["x"]
    (first, second) = calibration.fitted_on["channels"]["telephone"]
    assert (first["net_speech_s"], second["net_speech_s"]) == (1.0, 3.0)
    assert (first["targets"], first["impostors"]) == (30, 870)
    assert (first["target_speakers"], first["impostor_pairs"]) == (30, 435)
    assert first["is_fitted"]
    assert first["min_cllr"] <= first["cllr"] < 1


def test_sets_are_heard_as_they_are_and_over_the_telephone(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "tiny", cuts=CUTS, trials=TRIALS)
    calibration = fit_sets(engine.encoder, [tiny], KNOTS_S, least_speakers=3)
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
    for knots in calibration.fitted_on["channels"].values():
        assert [(k["targets"], k["impostors"]) for k in knots] == [(3, 6), (3, 6)]
    Engine(engine.encoder, calibration)


def test_without_the_telephone_there_is_only_what_the_sets_have(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "tiny", cuts=CUTS, trials=TRIALS)
    calibration = fit_sets(engine.encoder, [tiny], (2.0,), telephone_too=False, least_speakers=3)
    assert list(calibration.channels) == ["wideband"]


def test_a_telephone_set_is_heard_once_and_people_of_two_sets_are_different(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    sets = [make_set(tmp_path / name, cuts=CUTS, trials=TRIALS, rate=8_000) for name in ("x", "y")]
    calibration = fit_sets(engine.encoder, sets, (2.0,), least_speakers=6)
    assert [s["channel"] for s in calibration.fitted_on["sets"]] == [None, None]
    (knot,) = calibration.fitted_on["channels"]["telephone"]
    assert (knot["targets"], knot["target_speakers"], knot["impostor_pairs"]) == (6, 6, 6)


def test_sets_with_too_few_people_are_refused(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "tiny", cuts=CUTS, trials=TRIALS)
    with pytest.raises(EvaluationSetError, match="calibrate on more people"):
        fit_sets(engine.encoder, [tiny], (2.0,), telephone_too=False)


def test_no_sets_and_bad_knots_are_refused(engine: Engine) -> None:
    with pytest.raises(EvaluationSetError, match="nothing to fit"):
        fit_sets(engine.encoder, [])
    with pytest.raises(ConfigError, match="above 0"):
        fit_sets(engine.encoder, [], (0.0,))


def test_the_neutral_calibration_gives_the_cosine_back() -> None:
    neutral = neutral_calibration("f")
    for channel in ("wideband", "telephone"):
        assert neutral.llr(0.25, 7.0, channel) == 0.25
