"""Evidence fitted to cosines made up so that the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from streamsv.errors import EvaluationSetError
from streamsv.evaluation.evidence import KNOTS_S, TrialTable, fit_lines, llrs
from streamsv.scoring.metrics import cllr, min_cllr


def made_up(
    people: int = 30, seed: int = 0, target: float = 0.5, channel: str = "wideband", name: str = "x"
) -> TrialTable:
    """The longer the test, the less the cosines scatter."""
    draw = np.random.default_rng(seed)
    pairs = [(f"{name}{e}", f"{name}{t}") for e in range(people) for t in range(people)]
    means = np.array([target if e == t else 0.1 for e, t in pairs])
    cosines = [draw.normal(means, 0.2 / np.sqrt(min(s, 4.0))) for s in KNOTS_S]
    count = len(pairs) * len(KNOTS_S)
    enrolled, tested = zip(*pairs, strict=True)
    return TrialTable(
        np.concatenate(cosines),
        np.repeat(KNOTS_S, len(pairs)),
        np.full(count, 12.0),
        np.full(count, channel),
        np.full(count, name),
        np.array(enrolled * len(KNOTS_S)),
        np.array(tested * len(KNOTS_S)),
    )


def joined(*tables: TrialTable) -> TrialTable:
    names = ("cosine", "heard_s", "enrolled_s", "channel", "group")
    names = (*names, "enroll_speaker", "test_speaker")
    return TrialTable(*(np.concatenate([getattr(t, n) for t in tables]) for n in names))


def test_cosines_are_calibrated_also_on_others_of_their_kind() -> None:
    lines = fit_lines(made_up(seed=0))
    others = made_up(seed=1)
    found = llrs(lines, others)
    for knot_s in KNOTS_S:
        at = others.heard_s == knot_s
        sides = found[at & others.is_target], found[at & ~others.is_target]
        assert cllr(*sides) < min_cllr(*sides) + 0.15


def test_a_cosine_is_worth_more_after_more_speech() -> None:
    slopes = fit_lines(made_up())["wideband"].slope
    assert list(slopes) == sorted(slopes)
    assert slopes[-1] > 1.5 * slopes[0]


def test_sides_that_do_not_overlap_give_no_certainty() -> None:
    lines = fit_lines(made_up(target=5.0))
    found = llrs(lines, made_up(target=5.0, seed=1))
    assert np.abs(found).max() < 15


def test_sets_weigh_the_same_whatever_their_size() -> None:
    small, large = made_up(10, 0, 0.5, name="x"), made_up(40, 0, 0.9, name="y")
    both = fit_lines(joined(small, large))["wideband"]
    thrice = fit_lines(joined(small, large, large))["wideband"]
    np.testing.assert_allclose(both.slope, thrice.slope, rtol=0.05)
    np.testing.assert_allclose(both.offset, thrice.offset, rtol=0.05)


def test_each_channel_has_a_line_of_its_own() -> None:
    lines = fit_lines(joined(made_up(), made_up(target=0.3, channel="telephone", name="y")))
    assert set(lines) == {"wideband", "telephone"}
    middle = {name: -line.offset[-1] / line.slope[-1] for name, line in lines.items()}
    assert middle["telephone"] < middle["wideband"]


def test_too_few_people_and_swapped_labels_are_refused() -> None:
    with pytest.raises(EvaluationSetError, match="Calibrate on more people"):
        fit_lines(made_up(people=4))
    with pytest.raises(EvaluationSetError, match="Check the labels"):
        fit_lines(made_up(target=-0.9))
