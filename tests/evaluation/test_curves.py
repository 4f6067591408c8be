"""Calibration lines from few trials: bounded, rising, and right where there are many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from streamsv.errors import EvaluationSetError
from streamsv.evaluation.curves import (
    LEAST_SLOPE,
    KnotTrials,
    balanced_offset,
    fit_line,
    rising,
    with_dummies,
)
from streamsv.scoring.metrics import cllr


def knot(
    net_speech_s: float = 3.0,
    people: int = 40,
    gap: float = 0.5,
    deviation: float = 0.15,
    tests: int = 2,
    seed: int = 0,
) -> KnotTrials:
    """Everybody against everybody, ``tests`` times: cosines around 0.1, targets ``gap`` higher."""
    draw = np.random.default_rng(seed)
    pairs = [(f"p{e}", f"p{t}") for e in range(people) for t in range(people)] * tests
    enrolled, tested = zip(*pairs, strict=True)
    means = np.array([0.1 + gap * (e == t) for e, t in pairs])
    return KnotTrials(net_speech_s, draw.normal(means, deviation), enrolled, tested)


def test_many_trials_give_the_line_of_two_gaussians() -> None:
    line = fit_line("wideband", [knot(people=80, gap=0.3, tests=3)])
    slope = 0.3 / 0.15**2
    assert line.slope[0] == pytest.approx(slope, rel=0.15)
    assert -line.offset[0] / line.slope[0] == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("people", [6, 40])
def test_sides_far_apart_claim_no_more_than_their_people_and_pairs_show(people: int) -> None:
    trials = knot(people=people, gap=0.9, deviation=0.001)
    line = fit_line("wideband", [trials])
    targets, impostors = (line.slope[0] * side + line.offset[0] for side in trials.sides)
    pairs = people * (people - 1) // 2
    assert np.median(targets) == pytest.approx(math.log(pairs + 1), abs=0.2)
    assert np.median(impostors) == pytest.approx(-math.log(people + 1), abs=0.2)


def test_repeating_every_trial_makes_nothing_more_certain() -> None:
    once = knot(people=8, gap=0.9, deviation=0.01, tests=1)
    repeated = KnotTrials(
        3.0, np.tile(once.cosines, 5), once.enroll_speaker * 5, once.test_speaker * 5
    )
    assert fit_line("c", [repeated]).slope[0] == pytest.approx(
        fit_line("c", [once]).slope[0], rel=0.05
    )


def test_dummies_are_one_observation_of_the_other_kind() -> None:
    trials = knot(people=6, tests=3)
    targets, impostors = trials.sides
    more_targets, more_impostors = with_dummies(trials)
    assert (trials.target_speakers, trials.impostor_pairs) == (6, 15)
    assert len(more_targets) - len(targets) == 3
    assert len(more_impostors) - len(impostors) == 6
    assert more_targets[len(targets) :].max() <= impostors.max()


def test_slopes_never_fall_with_time() -> None:
    gaps = {0.5: 0.2, 1.0: 0.5, 2.0: 0.3, 5.0: 0.6}
    line = fit_line("c", [knot(s, gap=gap, seed=i) for i, (s, gap) in enumerate(gaps.items())])
    assert list(line.slope) == sorted(line.slope)
    assert line.slope[1] == line.slope[2]
    assert line.slope[0] < line.slope[1] < line.slope[3]


def test_a_knot_with_few_people_takes_its_line_from_those_beside_it() -> None:
    knots = [knot(1.0, gap=0.3), knot(2.0, people=3), knot(4.0, gap=0.6), knot(9.0, people=2)]
    line = fit_line("c", knots)
    assert line.slope[1] == pytest.approx((line.slope[0] + line.slope[2]) / 2)
    assert line.offset[1] == pytest.approx((line.offset[0] + line.offset[2]) / 2)
    assert (line.slope[3], line.offset[3]) == (line.slope[2], line.offset[2])


def test_a_knot_without_trials_does_no_harm() -> None:
    empty = KnotTrials(10.0, np.zeros(0), (), ())
    line = fit_line("c", [knot(1.0), empty])
    assert line.slope[0] == line.slope[1]


def test_an_early_knot_that_tells_nothing_apart_is_hardly_any_evidence() -> None:
    line = fit_line("c", [knot(0.5, gap=-0.2), knot(3.0)])
    assert line.slope[0] == LEAST_SLOPE
    assert abs(line.slope[0] * 0.1 + line.offset[0]) < 0.1


def test_targets_below_impostors_are_an_error() -> None:
    with pytest.raises(EvaluationSetError, match="nothing to calibrate"):
        fit_line("telephone", [knot(3.0, gap=-0.3)])


def test_too_few_people_are_an_error_that_names_the_channel() -> None:
    with pytest.raises(EvaluationSetError, match="channel telephone: no knot has 5 speakers"):
        fit_line("telephone", [knot(people=4)])


@given(
    st.lists(
        st.tuples(st.floats(-100, 100), st.integers(1, 50)),
        min_size=1,
        max_size=12,
    )
)
def test_pooling_is_that_of_scikit_learn(points: list[tuple[float, int]]) -> None:
    values, weights = zip(*points, strict=True)
    oracle = IsotonicRegression().fit_transform(range(len(values)), values, sample_weight=weights)
    assert rising(values, weights) == pytest.approx(list(oracle), abs=1e-6)


@pytest.mark.parametrize("slope", [0.5, 5.0, 40.0])
def test_no_other_offset_has_a_lower_cllr(slope: float) -> None:
    targets, impostors = knot(people=12).sides
    best = balanced_offset(slope, targets, impostors)

    def cost(offset: float) -> float:
        return cllr(slope * targets + offset, slope * impostors + offset)

    assert all(cost(best) <= cost(best + step) for step in (-0.1, -0.01, 0.01, 0.1))
