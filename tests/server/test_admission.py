"""A session is let in while there is room by measurement, and told when to come back if not."""

from __future__ import annotations

import pytest

from streamsv.errors import CapacityError
from streamsv.server.admission import Admission
from streamsv.server.config import AdmissionConfig
from streamsv.server.worker import Load


def test_a_burst_is_counted_before_it_shows_in_the_load() -> None:
    admission = Admission(AdmissionConfig(), Load, session_cost=0.1, clock=lambda: 0.0)
    for live in range(8):
        admission.admit(live)
    with pytest.raises(CapacityError, match="retry after 5 s: the engine would be busy"):
        admission.admit(8)


def test_the_load_that_is_measured_counts() -> None:
    now = [0.0]
    load = Load(utilization=0.4)
    admission = Admission(AdmissionConfig(), lambda: load, 0.1, clock=lambda: now[0])
    now[0] = 10.0
    admission.admit(100)
    load.utilization = 0.849
    with pytest.raises(CapacityError):
        admission.admit(100)


@pytest.mark.parametrize(
    ("load", "loop_delay_s", "why"),
    [(Load(delay_s=0.2), 0.0, "waits 200 ms"), (Load(), 0.3, "waits 300 ms")],
)
def test_audio_that_waits_refuses_new_sessions(load: Load, loop_delay_s: float, why: str) -> None:
    admission = Admission(AdmissionConfig(), lambda: load)
    admission.loop_delay_s = loop_delay_s
    with pytest.raises(CapacityError, match=why) as refused:
        admission.admit(3)
    assert refused.value.value == 5


def test_the_number_of_sessions_is_bounded_whatever_the_load() -> None:
    admission = Admission(AdmissionConfig(max_sessions=2), Load)
    admission.admit(1)
    with pytest.raises(CapacityError, match="2 sessions are live"):
        admission.admit(2)


def test_the_first_session_is_let_in_on_any_machine() -> None:
    Admission(AdmissionConfig(), lambda: Load(delay_s=9.0), session_cost=5.0).admit(0)
