"""Strangers who go on talking."""

from __future__ import annotations

from typing import Any

import pytest

from streamsv.engine import Engine
from streamsv.evaluation.patience import long_calls
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.tables import patience_table
from streamsv.evaluation.tracks import TrackReader
from streamsv.scoring.calibration import Calibration, Line
from streamsv.scoring.rules import Boundary, StoppingRule

LENGTHS_S = (2.0, 6.0, 12.0)


def calibration(engine: Engine, accept: float, until_s: float) -> Calibration:
    """LLRs rise by 3 in the first four seconds whoever speaks, so that an end comes too early."""
    rule = StoppingRule(0.24, (1.0,), until_s, 60, (Boundary(0.02, (accept,), (-99.0,)),))
    line = Line((1.0, 1.0), (0.0, 5.0))
    knots_s = (1.0, 10.0)
    return Calibration(engine.fingerprint, knots_s, {"wideband": line}, rules={"wideband": rule})


@pytest.mark.parametrize(
    ("accept", "until_s", "rule", "on"),
    [
        (3.0, 3.0, [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]),
        (3.0, 20.0, [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]),
        (-9.0, 20.0, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
        (99.0, 20.0, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
    ],
)
def test_a_stranger_is_counted_from_the_look_that_accepts(
    engine: Engine,
    tiny_set: EvaluationSet,
    accept: float,
    until_s: float,
    rule: list[float],
    on: list[float],
) -> None:
    made = calibration(engine, accept, until_s)
    (found,) = long_calls(TrackReader(engine.encoder), [tiny_set], made, lengths_s=LENGTHS_S)
    assert (found.channel, found.calls, found.speakers) == ("wideband", 6, 3)
    assert list(found.far_by_s.values()) == rule
    assert list(found.listening_on_by_s.values()) == on


def test_a_channel_without_a_rule_is_left_out(engine: Engine, make_set: Any, tmp_path: Any) -> None:
    narrow = make_set(tmp_path / "narrow", rate=8_000)
    made = calibration(engine, 99.0, 20.0)
    assert long_calls(TrackReader(engine.encoder), [narrow], made, lengths_s=(2.0,)) == ()


def test_the_table_has_a_column_for_each_length(engine: Engine, tiny_set: EvaluationSet) -> None:
    made = calibration(engine, 3.0, 3.0)
    found = long_calls(TrackReader(engine.encoder), [tiny_set], made, lengths_s=LENGTHS_S)
    table = patience_table([each.to_dict() for each in found])
    assert table.columns[-3:] == ("2 s", "6 s", "12 s")
    assert table.rows[1][-3:] == ("0.0", "100.0", "100.0")
