"""From a running LLR to a verdict."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import ConfigError
from streamsv.events import Reason, Verdict
from streamsv.scoring.calibration import Calibration, Line
from streamsv.scoring.policy import (
    DecisionConfig,
    SequentialPolicy,
    TargetFar,
    ThresholdPolicy,
    policy_for,
)
from streamsv.scoring.rules import Boundary, StoppingRule

ACCEPT = Verdict.ACCEPT, Reason.ABOVE_ACCEPT_THRESHOLD
REJECT = Verdict.REJECT, Reason.BELOW_REJECT_THRESHOLD
OPEN = Verdict.UNDECIDED, Reason.EVIDENCE_INCONCLUSIVE
SHORT = Verdict.UNDECIDED, Reason.NOT_ENOUGH_SPEECH
RULE = StoppingRule(
    0.24,
    (1.0, 3.0),
    6.0,
    60,
    (Boundary(0.02, (4.0, 2.0), (-5.0, -1.0)), Boundary(0.1, (2.0, 1.0), (-3.0, 0.0))),
)
LOOK_S = 1.2
LATER_S = 3.12


def policy(candidates: int = 1, **values: Any) -> SequentialPolicy:
    return SequentialPolicy(RULE, DecisionConfig(**values), "wideband", candidates)


@pytest.mark.parametrize(
    ("llr", "net_speech_s", "expected"),
    [
        (4.0, LOOK_S, ACCEPT),
        (3.99, LOOK_S, None),
        (-5.0, LOOK_S, REJECT),
        (2.0, LATER_S, ACCEPT),
        (-1.0, LATER_S, REJECT),
        (0.0, LATER_S, None),
        (9.0, LOOK_S + 0.08, None),
        (9.0, 0.96, None),
        (9.0, 6.08, OPEN),
    ],
)
def test_the_boundary_of_the_step_decides_on_the_grid_and_nothing_between(
    llr: float, net_speech_s: float, expected: Any
) -> None:
    assert policy().look(llr, net_speech_s) == expected


@given(st.floats(-50, 50), st.integers(76, 10_000))
def test_patience_does_not_win(llr: float, hops: int) -> None:
    assert policy().look(llr, hops * 0.08) == OPEN


def test_a_later_start_and_an_earlier_end_take_looks_away_and_add_none() -> None:
    fewer = policy(min_net_speech_s=2.0, max_net_speech_s=4.0)
    for hops in range(1, 100):
        at_s = hops * 0.08
        if 2.0 <= at_s <= 4.0:
            assert fewer.look(3.0, at_s) == policy().look(3.0, at_s)
        else:
            assert fewer.look(3.0, at_s) in (None, OPEN)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"min_net_speech_s": 0.5, "max_net_speech_s": 1.0}, r"\(0.5\).*\(1\)"),
        ({"max_net_speech_s": 1.19}, r"\(1\).*\(1.19\)"),
        ({"min_net_speech_s": 6.1, "max_net_speech_s": 30.0}, r"\(6.1\).*\(30\)"),
        ({"min_net_speech_s": 2.5, "max_net_speech_s": 2.6}, r"\(2.5\).*\(2.6\)"),
    ],
)
def test_a_rule_that_could_never_decide_is_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"every 0.24 s from 1.2 to 6 s.*{said}"):
        policy(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"max_net_speech_s": 1.2},
        {"min_net_speech_s": 6.0, "max_net_speech_s": 30.0},
        {"min_net_speech_s": 2.5, "max_net_speech_s": 2.64},
    ],
)
def test_a_single_look_is_a_rule(values: dict[str, float]) -> None:
    alone = policy(**values)
    assert alone.look(50.0, alone.first_look_s) == ACCEPT
    assert all(map(math.isfinite, alone.thresholds(0.0)))


def test_a_later_end_does_not_move_that_of_the_rule() -> None:
    assert policy(max_net_speech_s=60.0).look(50.0, 6.0) == ACCEPT
    assert policy(max_net_speech_s=60.0).look(50.0, 6.24) == OPEN


def test_the_promise_is_the_fitted_rate() -> None:
    assert policy().promised_error_rate == 0.02
    lenient = policy(target_far=TargetFar(wideband=0.09))
    assert lenient.promised_error_rate == 0.02
    assert policy(target_far=TargetFar(wideband=0.1)).promised_error_rate == 0.1


def test_a_rate_that_the_data_cannot_support_is_refused_with_the_people_it_takes() -> None:
    with pytest.raises(ConfigError, match=r"60 impostor speakers.*0.001 takes .* at least 999"):
        policy(target_far=TargetFar(wideband=0.001))


@pytest.mark.parametrize(
    ("target", "said"),
    [(0.0095, "rule of 0.005 is fitted, takes .* at least 199"), (0.0005, "0.001 and more")],
)
def test_between_the_fitted_rates_the_people_of_the_next_lower_one_are_needed(
    target: float, said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"no rate below 0.02: ask for that or more.*{said}"):
        policy(target_far=TargetFar(wideband=target))
    bare = Calibration("f", (1.0,), {"wideband": Line((1.0,), (0.0,))})
    with pytest.raises(ConfigError, match=rf"no decision rule for wideband.*{said}"):
        policy_for(bare, DecisionConfig(target_far=TargetFar(wideband=target)), "wideband")


def test_the_rate_is_divided_among_candidates() -> None:
    shared = policy(candidates=5, target_far=TargetFar(wideband=0.1))
    assert shared.promised_error_rate == pytest.approx(0.1)
    assert shared.thresholds(LOOK_S) == (4.0, -5.0)


def test_more_candidates_than_the_data_support_are_judged_harder_and_promised_honestly() -> None:
    crowd = policy(candidates=10)
    assert crowd.promised_error_rate == pytest.approx(0.2)
    assert crowd.thresholds(LOOK_S)[0] == pytest.approx(4.0 + math.log(10))
    assert policy(candidates=50).promised_error_rate is None


def test_at_the_end_it_is_undecided_for_want_of_speech_or_of_evidence() -> None:
    assert policy().at_end(0.0) == SHORT
    assert policy().at_end(1.12) == SHORT
    assert policy().at_end(1.2) == OPEN
    fixed = ThresholdPolicy(2.0, -2.5, DecisionConfig(min_net_speech_s=3.0))
    assert [fixed.at_end(s) for s in (0.0, 2.9, 3.0)] == [SHORT, SHORT, OPEN]


def test_the_thresholds_shown_are_those_in_force() -> None:
    assert policy().thresholds(0.0) == (4.0, -5.0)
    assert policy().thresholds(2.9) == (4.0, -5.0)
    assert policy().thresholds(LATER_S) == (2.0, -1.0)
    assert policy().thresholds(60.0) == (2.0, -1.0)


@given(st.integers(1, 1000), st.floats(-20, 20))
def test_fixed_thresholds_rise_with_the_candidates_and_promise_nothing(
    candidates: int, llr: float
) -> None:
    config = DecisionConfig(accept_llr=2.0, reject_llr=-2.5)
    line = Line((1.0,), (0.0,))
    fixed = policy_for(Calibration("f", (1.0,), {"wideband": line}), config, "wideband", candidates)
    assert fixed.promised_error_rate is None
    accept, reject = fixed.thresholds(5.0)
    assert accept == pytest.approx(2.0 + math.log(candidates))
    expected = ACCEPT if llr >= accept else REJECT if llr <= reject else None
    assert fixed.look(llr, 5.0) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accept_llr": math.nan, "reject_llr": 0.0}, r"accept_llr must be a finite number"),
        ({"accept_llr": 2.0}, "both decision.accept_llr and decision.reject_llr"),
        ({"accept_llr": -3.0, "reject_llr": -2.5}, "must be below decision.accept_llr"),
        ({"min_net_speech_s": -1.0}, "use 0 or more"),
        ({"max_net_speech_s": 0.5}, "must be above"),
        ({"max_net_speech_s": math.inf}, "max_net_speech_s must be a finite number"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecisionConfig(**values)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_a_target_is_a_rate(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"target_far\.telephone"):
        TargetFar(telephone=rate)
