"""So many times at once, and so many a second after that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamsv.server.pace import Pace

STEPS = st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200)


def test_a_burst_is_free_and_then_each_time_waits_for_its_turn() -> None:
    pace = Pace(per_s=2.0, at_once=3)
    for _ in range(3):
        assert pace.wait_s(10.0) == 0.0
        pace.take(10.0)
    assert pace.wait_s(10.0) == 0.5
    assert pace.wait_s(10.5) == 0.0
    assert pace.wait_s(1000.0) == 0.0


@given(STEPS)
def test_who_waits_as_told_does_no_more_than_is_allowed(pauses: list[float]) -> None:
    pace, now, times = Pace(per_s=4.0, at_once=5), 0.0, []
    for pause_s in pauses:
        now += pause_s
        now += pace.wait_s(now) + 1e-9
        pace.take(now)
        times.append(now)
    for n, first in enumerate(times):
        for m in range(n, len(times)):
            assert m - n + 1 <= 5 + 4.0 * (times[m] - first) + 1e-3
