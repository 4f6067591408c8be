"""Sets left out in turn, on cosines made up so that the answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from streamsv.errors import EvaluationSetError
from streamsv.evaluation.evidence import TrialTable, fit_lines, llrs
from streamsv.evaluation.material import POINTS_S, Material
from streamsv.evaluation.stopping import look_times
from streamsv.evaluation.tables import unseen_calls_table, unseen_evidence_table
from streamsv.evaluation.unseen import POOLED, left_out
from streamsv.scoring.metrics import cllr

PEOPLE = 12
AT_S = (1.0, 3.0, 10.0)


def rows(name: str, at_s: Sequence[float], seed: int, shift: float, is_calls: bool) -> TrialTable:
    """Everybody against everybody: true speakers at 0.6, strangers at 0.1, all plus ``shift``."""
    draw = np.random.default_rng(seed)
    pairs = [(f"{name}/{e}", f"{name}/{t}") for e in range(PEOPLE) for t in range(PEOPLE)]
    means = np.array([0.6 if e == t else 0.1 for e, t in pairs]) + shift
    offsets = draw.normal(0, 0.12, len(pairs))
    cosines = [means + offsets + draw.normal(0, 0.1, len(pairs)) / np.sqrt(s) for s in at_s]
    enrolled, tested = zip(*pairs, strict=True)
    groups = [1000 * seed + n if is_calls else f"{name}|as recorded" for n in range(len(pairs))]
    count = len(pairs) * len(at_s)
    return TrialTable(
        np.concatenate(cosines),
        np.repeat(at_s, len(pairs)),
        np.full(count, 12.0),
        np.full(count, "telephone"),
        np.array(groups * len(at_s)),
        np.array(enrolled * len(at_s)),
        np.array(tested * len(at_s)),
    )


def joined(tables: Sequence[TrialTable]) -> TrialTable:
    names = ("cosine", "heard_s", "enrolled_s", "channel", "group")
    names = (*names, "enroll_speaker", "test_speaker")
    return TrialTable(*(np.concatenate([getattr(t, n) for t in tables]) for n in names))


def material(shifts: dict[str, float]) -> Material:
    sets = list(enumerate(shifts.items()))
    trials = joined([rows(name, AT_S, n, shift, is_calls=False) for n, (name, shift) in sets])
    calls = [rows(name, look_times(), n, shift, is_calls=True) for n, (name, shift) in sets]
    points = {
        point: trials.only(trials.heard_s == (10.0 if point is None else point))
        for point in POINTS_S
    }
    return Material(trials, joined(calls), points, tuple({"set": name} for name in shifts))


def test_a_set_is_judged_by_a_fit_of_the_others_alone() -> None:
    made = material({"x": 0.0, "y": 0.0, "z": 0.3})
    found = left_out(made)
    others = made.trials.only(~np.char.startswith(made.trials.group, "z|"))
    own = made.points[3.0].only(np.char.startswith(made.points[3.0].group, "z|"))
    judged = llrs(fit_lines(others), own)
    (row,) = [e for e in found.evidence if (e.set, e.net_speech_s) == ("z", 3.0)]
    assert row.cllr == pytest.approx(cllr(judged[own.is_target], judged[~own.is_target]))


def test_a_set_whose_scores_lie_elsewhere_shows_in_evidence_and_calls() -> None:
    found = left_out(material({"w": 0.0, "x": 0.0, "y": 0.0, "z": 0.3}))
    loss = {e.set: e.cllr - e.min_cllr for e in found.evidence if e.net_speech_s == 10.0}
    assert loss["z"] > 3 * max(loss["w"], loss["x"], loss["y"])
    far = {c.set: c.far for c in found.calls if c.promised_far == 0.05}
    assert far["z"] > 0.3
    assert max(far["w"], far["x"], far["y"]) < 0.1


def test_sets_are_pooled_each_as_it_was_judged_while_left_out() -> None:
    found = left_out(material({"w": 0.0, "x": 0.0, "y": 0.0}))
    pooled = {c.promised_far: c for c in found.calls if c.set == POOLED}
    assert pooled[0.1].impostor_speakers == 3 * PEOPLE
    single = [c.far for c in found.calls if c.set != POOLED and c.promised_far == 0.1]
    assert pooled[0.1].far == pytest.approx(np.mean(single))
    (row,) = [e for e in found.evidence if (e.set, e.net_speech_s) == (POOLED, 3.0)]
    assert (row.targets, row.impostors) == (3 * PEOPLE, 3 * PEOPLE * (PEOPLE - 1))


def test_the_tables_show_every_set_and_the_pool() -> None:
    found = left_out(material({"x": 0.0, "y": 0.0})).to_dict()
    evidence, calls = unseen_evidence_table(found), unseen_calls_table(found)
    assert [row[0] for row in evidence.rows] == ["x", "y", POOLED]
    assert evidence.columns == ("set left out", "channel", "3 s", "10 s", "whole")
    assert {row[0] for row in calls.rows} == {"x", "y", POOLED}


def test_one_set_cannot_be_left_out() -> None:
    with pytest.raises(EvaluationSetError, match="at least two"):
        left_out(material({"x": 0.0}))
