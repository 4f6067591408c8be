"""What every event has: a type of its own, JSON, and documented fields that cannot change."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from typing import Any

import pytest

from streamsv import events
from streamsv.events import Event, Feedback, Reason, Refusal, Score, ScoreUpdated, Verdict

CLASSES: list[type[Event]] = [
    value
    for value in vars(events).values()
    if isinstance(value, type) and issubclass(value, Event) and value is not Event
]

NAMES = [
    "session_started",
    "speech_started",
    "speech_ended",
    "score_updated",
    "decision_made",
    "speaker_changed",
    "quality_warning",
    "audio_gap",
    "session_ended",
    "enrollment_progress",
    "enrollment_completed",
    "enrollment_refused",
]

SAMPLES: dict[Any, Any] = {
    str: "text",
    int: 3,
    float: 1.5,
    Score: Score("alice", 0.5, None, 2.0),
    events.Verdict: Verdict.UNDECIDED,
    events.Reason: Reason.NOT_ENOUGH_SPEECH,
    events.Quality: events.Quality.NOISY,
    events.Feedback: Feedback.NO_VOICE,
    events.Refusal: Refusal.INCONSISTENT,
}


def sample(wanted: Any, known: bool) -> Any:
    """A value of a field's type; ``None`` where that is allowed and ``known`` is false."""
    if typing.get_origin(wanted) is tuple:
        return (sample(typing.get_args(wanted)[0], known),) * 2
    if typing.get_origin(wanted) is types.UnionType:
        return SAMPLES[typing.get_args(wanted)[0]] if known else None
    return SAMPLES[wanted]


def example(event: type[Event], known: bool) -> Event:
    hints = typing.get_type_hints(event)
    return event(*(sample(hints[field.name], known) for field in dataclasses.fields(event)))


def test_there_are_the_events_of_the_house_and_no_others() -> None:
    assert [event.type for event in CLASSES] == NAMES


@pytest.mark.parametrize("event", CLASSES, ids=lambda event: event.type)
def test_a_type_is_the_name_of_its_class_in_snake_case(event: type[Event]) -> None:
    assert event.type == re.sub(r"(?<!^)([A-Z])", r"_\1", event.__name__).lower()


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("event", CLASSES, ids=lambda event: event.type)
def test_an_event_is_ready_for_json_with_its_type_first(event: type[Event], known: bool) -> None:
    one = example(event, known)
    plain = one.to_dict()
    assert list(plain) == ["type", *(field.name for field in dataclasses.fields(event))]
    assert plain["type"] == event.type
    back = json.loads(json.dumps(plain, allow_nan=False))
    assert list(back) == list(plain)
    for name, value in back.items():
        if value is None:
            assert getattr(one, name) is None


def test_a_score_inside_an_event_is_an_object_in_json() -> None:
    event = ScoreUpdated(1.0, 0.5, (Score("alice", 0.25, None, 1.5),), None, "wideband")
    assert json.loads(json.dumps(event.to_dict())) == {
        "type": "score_updated",
        "at_s": 1.0,
        "net_speech_s": 0.5,
        "scores": [{"speaker": "alice", "cosine": 0.25, "normalized": None, "llr": 1.5}],
        "snr_db": None,
        "channel": "wideband",
    }


@pytest.mark.parametrize("event", [*CLASSES, Score], ids=lambda event: event.__name__)
def test_an_event_is_frozen_and_slotted(event: Any) -> None:
    one = SAMPLES[Score] if event is Score else example(event, True)
    name = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, name, None)
    assert not hasattr(one, "__dict__")
    assert one == dataclasses.replace(one)
    assert hash(one) == hash(dataclasses.replace(one))


@pytest.mark.parametrize("event", [*CLASSES, Score], ids=lambda event: event.__name__)
def test_every_field_is_documented(event: Any) -> None:
    explained = f"{events.__doc__} {Event.__doc__} {event.__doc__}"
    for field in dataclasses.fields(event):
        assert f"``{field.name}``" in explained, field.name


@pytest.mark.parametrize("codes", [Verdict, Reason, events.Quality, Feedback, Refusal])
def test_codes_are_snake_case_and_their_own_json(codes: Any) -> None:
    for code in codes:
        assert str(code) == code.value == code.name.lower()
        assert json.dumps(code) == f'"{code.value}"'
