"""Making a voiceprint of one or several recordings, and refusals with a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.engine import Engine, EnrollmentConfig, EnrollmentSession
from streamsv.engine.enrollment import cohesion
from streamsv.errors import (
    ConfigError,
    InconsistentEnrollment,
    NotEnoughSpeech,
    ProtocolError,
    SessionClosed,
)
from streamsv.events import (
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Event,
    Feedback,
    Refusal,
    SessionEnded,
    SessionStarted,
)
from streamsv.voiceprints import Consent

DATED = "2025-01-31T09:30:00Z"

Heard = Callable[..., list[Event]]
Voice = Callable[..., Any]


def progress(events: Sequence[Event]) -> list[EnrollmentProgress]:
    return [event for event in events if isinstance(event, EnrollmentProgress)]


def feedback(events: Sequence[Event]) -> list[Feedback]:
    return [event.feedback for event in progress(events)]


def outcome(events: Sequence[Event]) -> Event:
    """The event before ``session_ended``."""
    assert isinstance(events[-1], SessionEnded)
    return events[-2]


def along(
    session: EnrollmentSession, recordings: Sequence[tuple[bytes, Any]], *formats: AudioFormat
) -> list[Event]:
    """What is said when every hop of each recording gives the embedding beside it."""
    events: list[Event] = []
    for number, (data, embedding) in enumerate(recordings):
        audio = formats[number] if formats else None
        events += session.next_recording(audio) if number else []
        events += session.feed(data)
        events += session.close_input() if number == len(recordings) - 1 else []
        while (hop := session.next_hop()) is not None:
            events += session.complete(hop, embedding, hop.state)
    return events


def test_good_speech_makes_a_voiceprint(engine: Engine, voice: Voice, heard: Heard) -> None:
    session = engine.enroll("alice")
    events = heard(session, encode_s16le(voice("a", 8)))
    assert isinstance(events[0], SessionStarted)
    assert (events[0].mode, events[0].speakers) == ("enroll", ("alice",))
    completed = outcome(events)
    assert isinstance(completed, EnrollmentCompleted)
    assert (completed.speaker, completed.recordings, completed.cohesion) == ("alice", 1, None)
    assert completed.net_speech_s == pytest.approx(session.net_speech_s)
    assert session.refusal is None
    consent = Consent("2025-01-31", "alice", "testing")
    voiceprint = session.voiceprint(DATED, consent)
    assert voiceprint.speaker == "alice"
    assert voiceprint.fingerprint == engine.fingerprint
    assert voiceprint.net_speech_s == pytest.approx(completed.net_speech_s)
    assert (voiceprint.recordings, voiceprint.channel) == (1, "wideband")
    assert (voiceprint.created_at, voiceprint.updated_at) == (DATED, DATED)
    assert voiceprint.consent == consent


def test_the_voiceprint_is_what_the_network_said_last(engine: Engine, voice: Voice) -> None:
    session = engine.enroll("alice")
    session.feed(encode_s16le(voice("a", 6)))
    session.close_input()
    embedding = None
    while (hop := session.next_hop()) is not None:
        embeddings, state = engine.encoder.step(hop.pcm, hop.state)
        embedding = embeddings[0]
        session.complete(hop, embedding, state)
    assert session.voiceprint(DATED).embedding == pytest.approx(embedding, abs=1e-6)


def test_too_little_speech_is_refused_with_what_to_do(
    engine: Engine, voice: Voice, heard: Heard
) -> None:
    session = engine.enroll("alice")
    events = heard(session, encode_s16le(voice("a", 3)))
    refused = outcome(events)
    assert isinstance(refused, EnrollmentRefused)
    assert refused == session.refusal
    assert (refused.speaker, refused.reason) == ("alice", Refusal.NOT_ENOUGH_SPEECH)
    least_s = engine.config.enrollment.min_net_speech_s
    assert f"at least {least_s:g} s are needed. Record more" in refused.detail
    with pytest.raises(NotEnoughSpeech, match="Record more"):
        session.voiceprint(DATED)


def test_nothing_at_all_is_refused(engine: Engine) -> None:
    session = engine.enroll("alice")
    events = session.finish()
    assert feedback(events) == [Feedback.TOO_SHORT]
    assert isinstance(outcome(events), EnrollmentRefused)
    with pytest.raises(NotEnoughSpeech):
        session.voiceprint(DATED)


def test_recordings_of_different_formats_make_one_voiceprint(
    engine: Engine, voice: Voice, in_format: Callable[..., bytes]
) -> None:
    formats = [
        AudioFormat("s16le", 16_000),
        AudioFormat("f32le", 44_100, 2),
        AudioFormat("s16le", 48_000),
    ]
    session = engine.enroll("alice", formats[0])
    events = session.push(in_format(voice("a", 3), formats[0]))
    for number, audio in enumerate(formats[1:], start=1):
        events += session.push_recording(in_format(voice("a", 3, 4 * number), audio), audio)
        assert session.audio == audio
    events += session.finish()
    completed = outcome(events)
    assert isinstance(completed, EnrollmentCompleted)
    assert completed.recordings == 3
    assert completed.at_s == pytest.approx(9.0, abs=1e-3)
    assert session.voiceprint(DATED).channel == "wideband"


def test_enrolling_over_the_telephone_is_marked(
    engine: Engine, voice: Voice, in_format: Callable[..., bytes], heard: Heard
) -> None:
    audio = AudioFormat("s16le", 8_000)
    session = engine.enroll("alice", audio)
    heard(session, in_format(voice("a", 7), audio))
    assert session.voiceprint(DATED).channel == "telephone"


@pytest.mark.parametrize(("seconds", "channel"), [(3.0, "telephone"), (0.5, "wideband")])
def test_a_telephone_recording_marks_the_voiceprint_only_if_it_is_part_of_it(
    engine: Engine, voice: Voice, in_format: Callable[..., bytes], seconds: float, channel: str
) -> None:
    formats = AudioFormat(), AudioFormat("mulaw", 8_000)
    embedding = np.eye(1, engine.encoder.dimension, dtype=np.float32)[0]
    lengths_s = (7.0, seconds)
    recordings = [
        (in_format(voice("a", length_s), audio), embedding)
        for audio, length_s in zip(formats, lengths_s, strict=True)
    ]
    session = engine.enroll("alice")
    along(session, recordings, *formats)
    assert session.voiceprint(DATED).channel == channel


def test_each_recording_is_embedded_alone(engine: Engine, voice: Voice, heard: Heard) -> None:
    recordings = [encode_s16le(voice(name, 5)) for name in "ab"]
    total = np.zeros(engine.encoder.dimension)
    for data in recordings:
        alone = engine.enroll("alice", force=True)
        heard(alone, data)
        total += alone.voiceprint(DATED).embedding * alone.net_speech_s
    together = engine.enroll("alice", force=True)
    together.push(recordings[0])
    together.push_recording(recordings[1])
    together.finish()
    found = together.voiceprint(DATED).embedding
    assert found == pytest.approx(total / np.linalg.norm(total), abs=1e-5)


def test_recordings_weigh_as_much_as_they_have_speech(engine: Engine, voice: Voice) -> None:
    session = engine.enroll("alice")
    first, second = np.eye(2, engine.encoder.dimension, dtype=np.float32)
    near = (0.9 * first + np.sqrt(1 - 0.81) * second).astype(np.float32)
    recordings = [(encode_s16le(voice("a", 6)), first), (encode_s16le(voice("a", 3, 7)), near)]
    events = along(session, recordings)
    completed = outcome(events)
    assert isinstance(completed, EnrollmentCompleted)
    assert completed.cohesion == pytest.approx(0.9, abs=1e-6)
    net_speech_s = [e.net_speech_s for e in progress(events) if e.recording == 0][-1]
    rest_s = completed.net_speech_s - net_speech_s
    total = net_speech_s * first + rest_s * near
    embedding = session.voiceprint(DATED).embedding
    assert embedding == pytest.approx(total / np.linalg.norm(total), abs=0.02)


def test_recordings_that_do_not_agree_are_refused(engine: Engine, voice: Voice) -> None:
    session = engine.enroll("alice")
    data = encode_s16le(voice("a", 4))
    first, second = np.eye(2, engine.encoder.dimension, dtype=np.float32)
    refused = outcome(along(session, [(data, first), (data, first), (data, second)]))
    assert isinstance(refused, EnrollmentRefused)
    assert refused.reason is Refusal.INCONSISTENT
    assert refused.cohesion == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(InconsistentEnrollment, match="Leave out the one that differs"):
        session.voiceprint(DATED)


@pytest.mark.parametrize(("margin", "is_refused"), [(-0.01, True), (0.01, False)])
def test_the_least_cohesion_is_that_of_the_configuration(
    engine: Engine, voice: Voice, margin: float, is_refused: bool
) -> None:
    cosine = engine.config.enrollment.min_cohesion + margin
    session = engine.enroll("alice")
    data = encode_s16le(voice("a", 4))
    first, second = np.eye(2, engine.encoder.dimension, dtype=np.float32)
    other = (cosine * first + np.sqrt(1 - cosine**2) * second).astype(np.float32)
    found = outcome(along(session, [(data, first), (data, other)]))
    assert isinstance(found, EnrollmentRefused) == is_refused


def test_a_voiceprint_before_the_end_is_a_protocol_error(engine: Engine, voice: Voice) -> None:
    session = engine.enroll("alice")
    session.push(encode_s16le(voice("a", 7)))
    with pytest.raises(ProtocolError, match="finish"):
        session.voiceprint(DATED)
    session.finish()
    assert session.voiceprint(DATED)


def test_an_enrollment_that_has_ended_takes_no_further_recording(engine: Engine) -> None:
    session = engine.enroll("alice")
    session.finish()
    with pytest.raises(SessionClosed):
        session.next_recording()
    with pytest.raises(SessionClosed):
        session.push_recording(b"")


def test_a_further_recording_while_a_hop_is_handed_out_is_a_protocol_error(
    engine: Engine, voice: Voice
) -> None:
    session = engine.enroll("alice")
    session.feed(encode_s16le(voice("a", 2)))
    assert session.next_hop() is not None
    with pytest.raises(ProtocolError):
        session.push_recording(b"")


def test_force_makes_a_voiceprint_and_keeps_why_it_would_have_been_refused(
    engine: Engine, voice: Voice, heard: Heard
) -> None:
    session = engine.enroll("alice", force=True)
    events = heard(session, encode_s16le(voice("a", 1.2, 0.5)))
    assert isinstance(outcome(events), EnrollmentCompleted)
    assert session.refusal is not None
    assert session.refusal.reason is Refusal.NOT_ENOUGH_SPEECH
    voiceprint = session.voiceprint(DATED)
    assert voiceprint.net_speech_s == pytest.approx(session.net_speech_s)


def test_force_takes_recordings_that_do_not_agree(engine: Engine, voice: Voice) -> None:
    session = engine.enroll("alice", force=True)
    data = encode_s16le(voice("a", 4))
    first, second = np.eye(2, engine.encoder.dimension, dtype=np.float32)
    assert isinstance(outcome(along(session, [(data, first), (data, second)])), EnrollmentCompleted)
    assert session.refusal is not None
    assert session.refusal.reason is Refusal.INCONSISTENT
    assert session.voiceprint(DATED).recordings == 2


def test_force_makes_no_voiceprint_of_nothing(engine: Engine) -> None:
    session = engine.enroll("alice", force=True)
    events = session.push(bytes(64_000)) + session.finish()
    assert isinstance(outcome(events), EnrollmentRefused)
    with pytest.raises(NotEnoughSpeech):
        session.voiceprint(DATED)


def test_a_name_that_cannot_be_stored_is_refused_before_anybody_speaks(engine: Engine) -> None:
    for name in ("", " alice", "a\nb", "x" * 200):
        with pytest.raises(ConfigError, match="speaker"):
            engine.enroll(name)


def test_what_is_wanted_can_be_configured(
    engine_with: Callable[..., Engine], voice: Voice, heard: Heard
) -> None:
    needs = EnrollmentConfig(wanted_net_speech_s=3.0, min_net_speech_s=1.0, stretch_s=0.5)
    events = heard(engine_with(enrollment=needs).enroll("alice"), encode_s16le(voice("a", 4)))
    assert [event.at_s for event in progress(events)] == [0.5 * (n + 1) for n in range(8)]
    assert isinstance(outcome(events), EnrollmentCompleted)


def test_gaps_in_an_enrollment_end_no_recording(engine: Engine, voice: Voice) -> None:
    session = engine.enroll("alice")
    events = session.push(encode_s16le(voice("a", 4)))
    events += session.gap(5.0)
    events += session.push(encode_s16le(voice("a", 4, 4))) + session.finish()
    completed = outcome(events)
    assert isinstance(completed, EnrollmentCompleted)
    assert completed.recordings == 1
    assert completed.at_s == pytest.approx(13.0)


def test_cohesion_is_the_lowest_cosine_to_the_others() -> None:
    first, second, third = np.eye(3, dtype=np.float32)
    assert cohesion(np.stack([first])) is None
    assert cohesion(np.stack([first, first])) == pytest.approx(1.0)
    assert cohesion(np.stack([first, second])) == pytest.approx(0.0)
    assert cohesion(np.stack([first, first, -first])) == pytest.approx(-1.0)
    assert cohesion(np.stack([first, second, third])) == pytest.approx(0.0)
