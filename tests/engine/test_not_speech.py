"""Silence, noise, tones and rubbish: undecided or an error, never a crash and never an accept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.engine import Engine
from streamsv.events import DecisionMade, Event, Reason, ScoreUpdated, SessionEnded, Verdict

SECONDS = 6
TIME_S = np.arange(SECONDS * 16_000) / 16_000


def noise(dbfs: float) -> Any:
    generator = np.random.default_rng(7)
    return (generator.standard_normal(len(TIME_S)) * 10 ** (dbfs / 20)).astype(np.float32)


def tones(*frequencies_hz: float) -> Any:
    waves = [np.sin(2 * np.pi * f * TIME_S) for f in frequencies_hz]
    return (0.3 * np.mean(waves, axis=0)).astype(np.float32)


def below_200_hz() -> Any:
    """Noise like that of an engine or of wind."""
    spectrum = np.fft.rfft(np.random.default_rng(8).standard_normal(len(TIME_S)))
    spectrum[np.fft.rfftfreq(len(TIME_S), 1 / 16_000) > 200] = 0
    rumble = np.fft.irfft(spectrum, len(TIME_S))
    return (0.1 * rumble / np.std(rumble)).astype(np.float32)


QUIET: Mapping[str, Any] = {
    "nothing at all": np.zeros(0, np.float32),
    "silence": np.zeros(len(TIME_S), np.float32),
    "noise at -70 dBFS": noise(-70),
    "noise at -62 dBFS": noise(-62),
    "a constant": np.full(len(TIME_S), 0.4, np.float32),
    "full scale, constant": np.ones(len(TIME_S), np.float32),
    "a constant with noise at -70 dBFS": 0.4 + noise(-70),
    "one click": np.eye(1, len(TIME_S), 20_000, dtype=np.float32)[0],
    "a tone at -66 dBFS": tones(440) * 10 ** (-52 / 20),
}

LOUD: Mapping[str, Any] = {
    "white noise at -20 dBFS": noise(-20),
    "white noise at -6 dBFS": noise(-6),
    "rumble": below_200_hz(),
    "mains hum": tones(50, 100, 150, 200, 250),
    "a tone": tones(440),
    "a high tone": tones(3_000),
    "a chord": tones(261.6, 329.6, 392.0),
    "a key of a telephone": tones(770, 1_336),
    "a square wave": np.sign(tones(200)) * np.float32(0.3),
}


def verdicts(events: list[Event]) -> list[Verdict]:
    return [event.verdict for event in events if isinstance(event, DecisionMade)]


@pytest.mark.parametrize("sound", QUIET.values(), ids=QUIET.keys())
def test_what_is_not_even_loud_is_undecided_for_want_of_speech(
    engine: Engine, voiceprints: Any, heard: Callable[..., list[Event]], sound: Any
) -> None:
    claimed = list(voiceprints.values())
    events = heard(engine.verify(claimed), encode_s16le(sound))
    decisions = [event for event in events if isinstance(event, DecisionMade)]
    assert [decision.speaker for decision in decisions] == ["a", "b", "c"]
    for decision in decisions:
        assert decision.verdict is Verdict.UNDECIDED
        assert decision.reason is Reason.NOT_ENOUGH_SPEECH
        assert decision.score is None
    assert not any(isinstance(event, ScoreUpdated) for event in events)
    assert events[-1] == SessionEnded(len(sound) / 16_000, 0.0)


@pytest.mark.parametrize("sound", QUIET.values(), ids=QUIET.keys())
def test_nobody_is_identified_in_what_is_not_even_loud(
    engine: Engine, voiceprints: Any, heard: Callable[..., list[Event]], sound: Any
) -> None:
    events = heard(engine.identify(list(voiceprints.values())), encode_s16le(sound))
    (decision,) = (event for event in events if isinstance(event, DecisionMade))
    assert decision.speaker is None
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.reason is Reason.NOT_ENOUGH_SPEECH


@pytest.mark.parametrize("sound", LOUD.values(), ids=LOUD.keys())
def test_noise_and_tones_at_normal_level_are_never_accepted(
    engine: Engine, voiceprints: Any, heard: Callable[..., list[Event]], sound: Any
) -> None:
    claimed = list(voiceprints.values())
    assert Verdict.ACCEPT not in verdicts(heard(engine.verify(claimed), encode_s16le(sound)))
    assert Verdict.ACCEPT not in verdicts(heard(engine.identify(claimed), encode_s16le(sound)))


def test_too_little_speech_is_undecided_and_says_so(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], heard: Callable[..., list[Event]]
) -> None:
    events = heard(engine.verify(voiceprints["a"]), encode_s16le(voice("a", 1.2)))
    (decision,) = (event for event in events if isinstance(event, DecisionMade))
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.reason is Reason.NOT_ENOUGH_SPEECH
    assert decision.score == [e for e in events if isinstance(e, ScoreUpdated)][-1].scores[0]


@pytest.mark.parametrize("encoding", ["s16le", "f32le"])
def test_a_tail_of_one_byte_changes_nothing(
    engine: Engine,
    voiceprints: Any,
    voice: Callable[..., Any],
    in_format: Callable[..., bytes],
    heard: Callable[..., list[Event]],
    encoding: str,
) -> None:
    audio = AudioFormat(encoding, 16_000)
    data = in_format(voice("a", 2), audio)
    whole = heard(engine.verify(voiceprints["a"], audio), data)
    assert heard(engine.verify(voiceprints["a"], audio), data + b"\x01") == whole


def test_a_single_byte_is_undecided(
    engine: Engine, voiceprints: Any, heard: Callable[..., list[Event]]
) -> None:
    assert verdicts(heard(engine.verify(voiceprints["a"]), b"\x01")) == [Verdict.UNDECIDED]


def test_empty_pushes_change_nothing(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], heard: Callable[..., list[Event]]
) -> None:
    data = encode_s16le(voice("a", 2))
    chunks = [b"", data[:9_001], b"", b"", data[9_001:], b""]
    whole = heard(engine.verify(voiceprints["a"]), data)
    assert heard(engine.verify(voiceprints["a"]), chunks) == whole


@settings(max_examples=25, deadline=None)
@given(
    data=st.binary(max_size=6_000),
    encoding=st.sampled_from(["s16le", "mulaw", "alaw"]),
    rate=st.integers(8_000, 48_000),
    channels=st.integers(1, 8),
)
def test_a_moment_of_any_bytes_at_any_rate_is_undecided(
    engine: Engine,
    voiceprints: Any,
    heard: Callable[..., list[Event]],
    data: bytes,
    encoding: str,
    rate: int,
    channels: int,
) -> None:
    audio = AudioFormat(encoding, rate, channels)
    events = heard(engine.verify(voiceprints["a"], audio), data)
    assert verdicts(events) == [Verdict.UNDECIDED]
    samples = len(data) // audio.bytes_per_frame
    assert events[-1].at_s == pytest.approx(samples / rate, abs=1e-4)
