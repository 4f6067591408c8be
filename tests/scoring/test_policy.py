"""When the evidence is enough."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import ConfigError
from streamsv.events import Reason, Verdict
from streamsv.scoring.policy import DecisionConfig, ThresholdPolicy

ACCEPT = Verdict.ACCEPT, Reason.ABOVE_ACCEPT_THRESHOLD
REJECT = Verdict.REJECT, Reason.BELOW_REJECT_THRESHOLD

CONFIG = DecisionConfig(accept_llr=3.0, reject_llr=-2.0, min_net_speech_s=3.0)


@pytest.mark.parametrize(
    ("llr", "expected"),
    [
        (3.0, ACCEPT),
        (math.inf, ACCEPT),
        (2.999, None),
        (0.0, None),
        (-1.999, None),
        (-2.0, REJECT),
        (-math.inf, REJECT),
        (math.nan, None),
    ],
)
def test_a_threshold_is_part_of_what_it_decides(
    llr: float, expected: tuple[Verdict, Reason] | None
) -> None:
    assert ThresholdPolicy(CONFIG).look(llr, 3.0) == expected


@given(llr=st.floats(), net_speech_s=st.floats(0, 3.0, exclude_max=True))
def test_nothing_is_decided_before_the_least_net_speech(llr: float, net_speech_s: float) -> None:
    policy = ThresholdPolicy(CONFIG)
    assert policy.look(llr, net_speech_s) is None
    assert policy.at_end(net_speech_s) == (Verdict.UNDECIDED, Reason.NOT_ENOUGH_SPEECH)


def test_the_end_is_inconclusive_after_enough_speech() -> None:
    found = ThresholdPolicy(CONFIG).at_end(3.0)
    assert found == (Verdict.UNDECIDED, Reason.EVIDENCE_INCONCLUSIVE)


def test_no_speech_is_never_enough_even_where_none_is_asked_for() -> None:
    policy = ThresholdPolicy(DecisionConfig(min_net_speech_s=0.0))
    assert policy.at_end(0.0) == (Verdict.UNDECIDED, Reason.NOT_ENOUGH_SPEECH)
    assert policy.at_end(0.08) == (Verdict.UNDECIDED, Reason.EVIDENCE_INCONCLUSIVE)


@given(candidates=st.integers(1, 100_000), llr=st.floats(-50, 50))
def test_the_accept_threshold_rises_by_the_logarithm_of_the_candidates(
    candidates: int, llr: float
) -> None:
    policy = ThresholdPolicy(CONFIG, candidates)
    assert policy.accept_llr == pytest.approx(3.0 + math.log(candidates))
    assert policy.reject_llr == -2.0
    assert (policy.look(llr, 5.0) == ACCEPT) == (llr >= policy.accept_llr)
    assert (policy.look(llr, 5.0) == REJECT) == (llr <= policy.reject_llr)


def test_no_error_rate_is_promised() -> None:
    assert ThresholdPolicy(CONFIG).promised_error_rate is None


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"accept_llr": math.nan}, r"decision\.accept_llr must be a finite number"),
        ({"reject_llr": -math.inf}, r"decision\.reject_llr must be a finite number"),
        ({"min_net_speech_s": math.inf}, r"decision\.min_net_speech_s must be a finite number"),
        ({"min_net_speech_s": -0.1}, r"decision\.min_net_speech_s is -0\.1; use 0 or more"),
        ({"accept_llr": -3.0}, r"decision\.reject_llr \(-2\.5\) must be below"),
        ({"reject_llr": 4.0}, r"must be below decision\.accept_llr \(2\.0\)"),
    ],
)
def test_a_rule_that_makes_no_sense_is_an_error(values: dict[str, float], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        DecisionConfig(**values)
