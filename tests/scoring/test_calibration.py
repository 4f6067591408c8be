"""A calibration: its curves, its file, its errors."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import ConfigError, ModelLoadError, ModelMismatch
from streamsv.scoring.calibration import Calibration, Line

CONTENT = {
    "format": "streamsv-calibration",
    "version": 2,
    "fingerprint": "abc",
    "model_sha256": None,
    "knots_s": [1, 2.0, 10.0],
    "channels": {
        "wideband": {
            "slope": [10.0, 20.0, 30.0],
            "offset": [-2.0, -5.0, -9.0],
            "enrolled_slope": [-4.0, 0.0],
            "enrolled_offset": [1.0, 0.0],
        },
        "telephone": {
            "slope": [5.0, 8.0, 9.0],
            "offset": [-1.0, -2.0, -3.0],
            "enrolled_slope": [0.0, 0.0],
            "enrolled_offset": [0.0, 0.0],
        },
    },
    "enrolled_knots_s": [3.0, 12.0],
    "rules": {
        "wideband": {
            "look_s": 0.24,
            "from_s": [1.0, 3.0],
            "until_s": 20.0,
            "speakers": 60,
            "boundaries": [{"target_far": 0.02, "accept": [4.0, 3.0], "reject": [-4.0, -1.0]}],
        }
    },
    "fitted_on": {"sets": ["made up"], "trials": 7},
}


RULE: dict[str, Any] = CONTENT["rules"]["wideband"]  # type: ignore[index]


def written(folder: Path, content: Any) -> Path:
    path = folder / "calibration.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    return Calibration.load(written(tmp_path, CONTENT))


def test_at_a_knot_the_llr_is_its_line(calibration: Calibration) -> None:
    assert calibration.llr(0.5, 2.0, "wideband") == pytest.approx(20 * 0.5 - 5)
    assert calibration.llr(0.5, 10.0, "telephone") == pytest.approx(9 * 0.5 - 3)


def test_between_knots_the_line_is_linear_in_log_seconds(calibration: Calibration) -> None:
    middle = math.sqrt(2.0 * 10.0)
    assert calibration.llr(0.5, middle, "wideband") == pytest.approx(25 * 0.5 - 7)


def test_the_length_of_the_enrollment_is_added() -> None:
    calibration = Calibration(
        "f", (1.0,), {"wideband": Line((10.0,), (-2.0,), (-4.0, 0.0), (1.0, 0.0))},
        enrolled_knots_s=(3.0, 12.0),
    )  # fmt: skip
    assert calibration.llr(0.5, 5.0, "wideband") == pytest.approx(10 * 0.5 - 2)
    assert calibration.llr(0.5, 5.0, "wideband", 12.0) == pytest.approx(10 * 0.5 - 2)
    assert calibration.llr(0.5, 5.0, "wideband", 3.0) == pytest.approx(6 * 0.5 - 1)
    assert calibration.llr(0.5, 5.0, "wideband", 6.0) == pytest.approx(8 * 0.5 - 1.5)


def test_the_table_by_hop_is_the_curves(calibration: Calibration) -> None:
    for channel in ("telephone", "wideband"):
        table = calibration.heard_by_hop(0.08, channel)
        for hops in (1, 12, 13, 100, 124, 125, 126, 5000):
            pair = table[min(hops, len(table) - 1)]
            assert pair == pytest.approx(calibration.heard(hops * 0.08, channel))
        assert calibration.heard_by_hop(0.08, channel) is table


def test_outside_the_knots_the_nearest_line_holds(calibration: Calibration) -> None:
    assert calibration.llr(0.5, 0.08, "wideband") == calibration.llr(0.5, 1.0, "wideband")
    assert calibration.llr(0.5, 3600.0, "wideband") == calibration.llr(0.5, 10.0, "wideband")


def test_an_array_of_cosines_gives_the_same_as_each_alone(calibration: Calibration) -> None:
    cosines = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    llrs = calibration.llr(cosines, 1.5, "telephone")
    assert llrs.shape == (2, 3)
    assert llrs.dtype == np.float64
    alone = [calibration.llr(float(cosine), 1.5, "telephone") for cosine in cosines.flat]
    assert llrs.ravel().tolist() == alone
    assert type(calibration.llr(np.float32(0.5), 1.5, "telephone")) is float


@given(st.floats(0.01, 100), st.floats(-1, 1), st.floats(1e-3, 1))
def test_a_higher_cosine_is_always_more_evidence(seconds: float, low: float, step: float) -> None:
    calibration = Calibration("abc", (1.0, 3.0), {"telephone": Line((4.0, 9.0), (-1.0, -4.0))})
    higher = calibration.llr(low + step, seconds, "telephone")
    assert higher > calibration.llr(low, seconds, "telephone")


def test_what_is_saved_is_loaded_again(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "again.json")
    assert Calibration.load(tmp_path / "again.json") == calibration
    assert json.loads((tmp_path / "again.json").read_text()) == CONTENT


def test_an_unknown_channel_or_no_speech_is_refused(calibration: Calibration) -> None:
    with pytest.raises(ConfigError, match="'fm'; there is one for telephone, wideband"):
        calibration.llr(0.5, 1.0, "fm")
    for seconds in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="net_speech_s"):
            calibration.llr(0.5, seconds, "wideband")


def test_the_calibration_of_another_model_is_refused(calibration: Calibration) -> None:
    calibration.check_fingerprint("abc")
    with pytest.raises(ModelMismatch, match="fitted on model abc, the model loaded is xyz"):
        calibration.check_fingerprint("xyz")


def changed(**changes: Any) -> dict[str, Any]:
    return {**CONTENT, **changes}


def wideband(**changes: Any) -> dict[str, Any]:
    enrolled = {"enrolled_slope": [0, 0], "enrolled_offset": [0, 0]}
    line = {"slope": [1, 2, 3], "offset": [0, 0, 0], **enrolled, **changes}
    return changed(channels={"wideband": line})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ([], "the file must be a JSON object"),
        (changed(format="other"), "format is 'other'; this release reads 'streamsv-calibration'"),
        (changed(version=1), "version is 1; this release reads 2"),
        (changed(fingerprint=None), "fingerprint must be a string"),
        (changed(fingerprint=""), "fingerprint is empty"),
        (changed(extra=1), "unknown key 'extra'; allowed are"),
        (changed(knots_s="1"), "knots_s must be a list of numbers"),
        (changed(knots_s=[1, True, 3]), "knots_s must be a list of numbers"),
        (changed(knots_s=[1, 10**400, 3]), "knots_s must be a list of numbers"),
        (changed(knots_s=[]), "knots_s must be rising seconds above 0"),
        (changed(knots_s=[0, 1, 2]), "knots_s must be rising seconds above 0"),
        (changed(knots_s=[1, 3, 2]), "knots_s must be rising seconds above 0"),
        (changed(knots_s=[1, 2, math.nan]), "knots_s must be rising seconds above 0"),
        (changed(channels=[]), "channels must be a JSON object"),
        (changed(channels={}), "channels is empty"),
        (changed(channels={"wideband": 3}), "channels.wideband must be a JSON object"),
        (changed(channels={"wideband": {"slope": []}}), "must have slope, offset, .*; got slope"),
        (wideband(slope=[1, 2]), "wideband.slope has 2 values; expected one for each of the 3"),
        (wideband(slope=[1, 2, 0]), "channels.wideband.slope holds 0.0; .* above 0"),
        (wideband(offset=[1, 2, math.inf]), "wideband.offset holds inf; .* finite"),
        (wideband(enrolled_slope=[1]), "enrolled_slope has 1 values; expected one for each"),
        (changed(enrolled_knots_s=[3, 2]), "enrolled_knots_s must be rising"),
        (changed(rules={"wideband": 3}), "rules.wideband must be a JSON object"),
        (changed(rules={"wideband": {"look_s": 0.1}}), "rules.wideband.from_s is missing"),
        (changed(rules={"wideband": {**RULE, "look_s": 0}}), "rules.wideband: look_s must be"),
        (changed(fitted_on=3), "fitted_on must be a JSON object"),
    ],
)
def test_a_malformed_file_is_refused_by_file_key_and_value(
    tmp_path: Path, content: Any, says: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError, match=says) as refusal:
        Calibration.load(path)
    assert str(path) in refusal.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json cannot be read"):
        Calibration.load(tmp_path / "none.json")


def test_a_file_that_cannot_be_written_is_refused_by_name(
    calibration: Calibration, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"no.calibration\.json cannot be written"):
        calibration.save(tmp_path / "no" / "calibration.json")


def test_metadata_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    lines = {"wideband": Line((1.0,), (0.0,))}
    for value in (object(), math.nan):
        with pytest.raises(ConfigError, match="fitted_on cannot be written"):
            Calibration("abc", (1.0,), lines, {"x": value}).save(tmp_path / "no.json")
    assert not (tmp_path / "no.json").exists()


def test_a_trial_across_channels_has_a_line_of_its_own_where_there_is_one() -> None:
    own = {name: Line((1.0,), (0.0,)) for name in ("wideband", "telephone", "mixed")}
    calibration = Calibration("abc", (1.0,), own)
    assert calibration.channel_of_trial("wideband", "wideband") == "wideband"
    assert calibration.channel_of_trial("telephone", "telephone") == "telephone"
    assert calibration.channel_of_trial("wideband", "telephone") == "mixed"
    assert calibration.channel_of_trial("telephone", "wideband") == "mixed"
    del own["mixed"]
    without = Calibration("abc", (1.0,), own)
    assert without.channel_of_trial("wideband", "telephone") == "telephone"


def test_a_damaged_model_file_is_noticed(calibration: Calibration, tmp_path: Path) -> None:
    known = replace(calibration, model_sha256="a" * 64)
    known.save(tmp_path / "known.json")
    loaded = Calibration.load(tmp_path / "known.json")
    loaded.check_model_file("a" * 64)
    calibration.check_model_file("b" * 64)
    with pytest.raises(ModelLoadError, match="damaged"):
        loaded.check_model_file("b" * 64)
