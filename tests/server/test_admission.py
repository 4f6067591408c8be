"""A session is let in while there is room by measurement, and told when to come back if not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from streamsv.audio import AudioFormat
from streamsv.errors import CapacityError
from streamsv.server.admission import Admission
from streamsv.server.config import AdmissionConfig
from streamsv.server.limits import LimitsConfig
from streamsv.server.worker import Load

MULAW = AudioFormat("mulaw", 8000)


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


def test_starts_that_fail_do_not_use_up_the_room_of_others(serve: Any, desk: Any) -> None:
    limits = LimitsConfig(sessions_per_address=3)
    live = serve(limits=limits)
    config = AdmissionConfig(max_utilization=0.85, max_delay_ms=1e6)
    # One more session beside those that are there is all that there is room for.
    live.parts.calls.use(live.parts.worker, Admission(config, Load, session_cost=0.25))
    strange, known = (desk.start_of(MULAW, name) for name in ("nobody", "alice"))

    async def run() -> list[str]:
        async with live.open() as first, live.open() as second, live.open() as third:
            for socket in (first, second):
                await socket.send(known)
                assert json.loads(await socket.recv())["type"] == "session_started"
            for _ in range(5):
                assert (await desk.whole_call(live, strange, b"")).code == 1008
            await third.send(known)
            assert json.loads(await third.recv())["type"] == "session_started"
            heard = [await desk.whole_call(live, known, b"") for _ in range(5)]
            return [each.events[0]["code"] for each in heard]

    # Who has all the sessions that one may have is refused for that, and uses up no room either.
    assert asyncio.run(run()) == ["limit_reached"] * 5


def test_what_was_let_in_for_nothing_is_taken_back() -> None:
    admission = Admission(AdmissionConfig(), Load, session_cost=0.4, clock=lambda: 0.0)
    for _ in range(20):
        admission.take_back(admission.admit(1))
    admission.admit(1)
    admission.admit(1)
    with pytest.raises(CapacityError):
        admission.admit(1)
