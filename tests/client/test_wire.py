"""Events come back out of JSON as they went in; what a newer server says is not lost."""

from __future__ import annotations

import dataclasses
import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv import events
from streamsv.client.wire import UnknownEvent, event_of, started_of
from streamsv.errors import ProtocolError
from streamsv.events import Event, Score, ScoreUpdated, SessionStarted

CLASSES = [
    each
    for each in vars(events).values()
    if isinstance(each, type) and issubclass(each, Event) and each is not Event
]
STARTED = SessionStarted(0.0, "verify", ("alice",), "s16le", 16_000, 1, "wideband", 0.08, 0.08)


def example(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Events of ``kind`` with any values that their fields allow."""
    finite = st.floats(allow_nan=False, allow_infinity=False)
    hints = typing.get_type_hints(kind)
    with_finite = {name: finite for name, hint in hints.items() if hint is float}
    score = st.builds(Score, st.text(), finite, st.none() | finite, finite)
    if "score" in hints:
        with_finite["score"] = st.none() | score
    if "scores" in hints:
        with_finite["scores"] = st.lists(score).map(tuple)
    for name, hint in hints.items():
        if hint == float | None:
            with_finite[name] = st.none() | finite
    return st.builds(kind, **with_finite)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.type)
def test_every_event_survives_the_wire(kind: type[Event]) -> None:
    @given(example(kind))
    def check(event: Event) -> None:
        fields = json.loads(json.dumps(event.to_dict()))
        back = event_of(fields | {"seq": 3, "of a newer server": [1]})
        assert back == event
        assert type(back) is type(event)
        assert json.loads(json.dumps(back.to_dict())) == fields

    check()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "voice_changed", "at_s": 2, "how": "much"},
        {"type": "decision_made", "at_s": 2.0, "verdict": "perhaps"},
        {"type": "speech_ended", "at_s": 2.0},
        {"type": "speech_ended", "at_s": 2.0, "net_speech_s": "long"},
        {"type": "score_updated", "at_s": 2.0, "net_speech_s": 1.0, "scores": 3},
    ],
)
def test_an_event_of_a_newer_server_arrives_with_its_fields(fields) -> None:
    event = event_of(fields)
    assert isinstance(event, UnknownEvent)
    assert event.at_s == 2.0
    assert event.to_dict() == fields


@pytest.mark.parametrize("fields", [{}, {"type": "x"}, {"type": 3, "at_s": 1.0}, {"at_s": True}])
def test_what_is_no_event_is_refused(fields) -> None:
    with pytest.raises(ProtocolError, match="not an event"):
        event_of(fields)


def test_what_a_session_was_granted_stands_beside_its_event() -> None:
    decision = {"accept_llr": 2, "reject_llr": -2.5, "min_net_speech_s": 3.0}
    granted = {"session_id": "s", "resume_token": "secret", "received_samples": 7}
    started = started_of(STARTED.to_dict() | granted | {"decision": decision})
    assert started.event == STARTED
    assert (started.session_id, started.received_samples) == ("s", 7)
    assert started.decision == decision
    assert started.enrollment is None
    assert "secret" not in repr(started)


@pytest.mark.parametrize(
    "fields",
    [
        events.SessionEnded(1.0, 0.0).to_dict(),
        STARTED.to_dict(),
        STARTED.to_dict() | {"session_id": "s", "received_samples": -1},
        dataclasses.asdict(STARTED) | {"at_s": 0.0, "type": "session_begun", "session_id": "s"},
    ],
)
def test_a_session_that_does_not_begin_is_refused(fields) -> None:
    with pytest.raises(ProtocolError, match="session_started"):
        started_of(fields)


def test_scores_come_back_as_scores() -> None:
    score = Score("alice", 0.5, None, 2.0)
    event = event_of(ScoreUpdated(1.0, 0.5, (score,), None, "wideband").to_dict())
    assert isinstance(event, ScoreUpdated)
    assert event.scores == (score,)
