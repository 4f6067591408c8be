"""When to stop: what a rule is made of, and what its promise needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import ConfigError
from streamsv.scoring.rules import RATES, Boundary, StoppingRule, rate_to_fit, speakers_needed


def rule(**values: Any) -> StoppingRule:
    boundaries = (Boundary(0.02, (4.0, 2.0), (-5.0, -1.0)), Boundary(0.1, (2.0, 1.0), (-3.0, 0.0)))
    given = {"look_s": 0.24, "from_s": (1.0, 3.0), "until_s": 6.0, "speakers": 60}
    return StoppingRule(**given | {"boundaries": boundaries} | values)


@given(st.floats(1e-5, 0.5))
def test_the_speakers_needed_are_the_fewest_whose_bound_reaches_the_rate(far: float) -> None:
    needed = speakers_needed(far)
    assert 1 / (needed + 1) <= far * (1 + 1e-6)
    assert needed == 1 or 1 / needed > far * (1 - 1e-6)


@given(st.integers(1, 2000), st.floats(2e-3, 0.5))
def test_a_rule_of_the_rate_to_fit_keeps_the_promise(people: int, far: float) -> None:
    fitted = [rate for rate in RATES if people >= speakers_needed(rate)]
    rate = rate_to_fit(far)
    assert rate is not None
    is_kept = any(each <= far for each in fitted)
    assert is_kept == (people >= speakers_needed(rate))


def test_the_highest_rate_that_is_low_enough_is_taken() -> None:
    assert rule().supported(0.1).target_far == 0.1
    assert rule().supported(0.05).target_far == 0.02
    assert rule().supported(0.01) is None


def test_a_step_begins_at_its_second() -> None:
    assert [rule().step(at_s) for at_s in (0.9, 1.0, 2.99, 3.0, 9.0)] == [-1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"look_s": 0.0}, "look_s must be above 0"),
        ({"from_s": (3.0, 1.0)}, "rising seconds"),
        ({"until_s": 2.0}, "rising seconds"),
        ({"boundaries": ()}, "rising rates"),
        ({"boundaries": (Boundary(1.5, (1.0, 1.0), (0.0, 0.0)),)}, "rising rates"),
        ({"boundaries": (Boundary(0.1, (1.0,), (0.0, 0.0)),)}, "each of the 2 steps"),
        ({"boundaries": (Boundary(0.1, (1.0, float("nan")), (0.0, 0.0)),)}, "a finite LLR"),
    ],
)
def test_what_is_no_rule_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rule(**values)
