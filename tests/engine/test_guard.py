"""What is no speech is no evidence: sounds of this file's own making, and real voices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsv.audio import encode_s16le
from streamsv.engine import Engine, bundled
from streamsv.engine.guard import GuardConfig, SpeechGuard, SpeechJudge
from streamsv.errors import ConfigError
from streamsv.events import DecisionMade, Event, Quality, QualityWarning, Reason, Verdict
from streamsv.scoring.policy import DecisionConfig

SECONDS = 10
TIME_S = np.arange(SECONDS * 16_000) / 16_000


def tones(*frequencies_hz: float) -> Any:
    return np.mean([np.sin(2 * np.pi * f * TIME_S) for f in frequencies_hz], axis=0)


def struck(frequency_hz: float, at_s: float, decay_s: float = 0.4) -> Any:
    """One note of a music box."""
    since = TIME_S - at_s
    envelope = np.where(since >= 0, np.exp(-np.maximum(since, 0) / decay_s), 0.0)
    overtones = [np.sin(2 * np.pi * k * frequency_hz * since) / k**1.5 for k in range(1, 6)]
    return envelope * np.sum(overtones, axis=0)


def scale_of_a_music_box() -> Any:
    notes = 261.6 * 2 ** (np.array([0, 4, 7, 12, 7, 4]) / 12)
    return np.sum([struck(notes[k % 6], 0.3 * k) for k in range(33)], axis=0)


def pads() -> Any:
    """Slow chords, three triangle waves each."""
    roots = np.repeat([220.0, 174.6, 261.6, 196.0], len(TIME_S) // 4)
    phases = [np.cumsum(roots * ratio) / 16_000 for ratio in (1.0, 1.26, 1.5)]
    return np.sum([2 * np.abs(2 * (phase % 1) - 1) - 1 for phase in phases], axis=0)


def drum_machine() -> Any:
    generator = np.random.default_rng(4)
    beat = TIME_S % 0.5
    kick = np.sin(2 * np.pi * 60 * beat) * np.exp(-beat * 15)
    off = (TIME_S + 0.25) % 0.5
    return kick + 0.4 * generator.standard_normal(len(TIME_S)) * np.exp(-off * 25)


def digits() -> Any:
    pairs = [(697, 1209), (852, 1477), (770, 1336), (941, 1209)]
    number = (TIME_S / 0.25).astype(int)
    sound = np.choose(number % 4, [tones(*pair) for pair in pairs])
    return sound * (TIME_S % 0.25 < 0.15)


def pink_noise() -> Any:
    spectrum = np.fft.rfft(np.random.default_rng(5).standard_normal(len(TIME_S)))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(TIME_S))


def one_vowel() -> Any:
    """An "ah" of 120 Hz through two resonances, twice a second."""
    x = (np.diff(np.floor(120 * TIME_S), prepend=0) > 0).astype(float)
    for center, width in ((700, 90), (1_200, 110)):
        radius = np.exp(-np.pi * width / 16_000)
        first, second = 2 * radius * np.cos(2 * np.pi * center / 16_000), -(radius**2)
        y = np.zeros(len(x) + 2)
        for n, sample in enumerate(x):
            y[n + 2] = sample + first * y[n + 1] + second * y[n]
        x = y[2:]
    return x * (TIME_S % 0.5 < 0.35)


SOUNDS: dict[str, Callable[[], Any]] = {
    "dial tone": lambda: tones(350, 440),
    "busy tone": lambda: tones(480, 620) * (TIME_S % 1 < 0.5),
    "hold beeps": lambda: tones(1_400) * (TIME_S % 2 < 0.4),
    "digits": digits,
    "a music box": scale_of_a_music_box,
    "pads": pads,
    "a drum machine": drum_machine,
    "white noise": lambda: np.random.default_rng(6).standard_normal(len(TIME_S)),
    "pink noise": pink_noise,
    "one vowel": one_vowel,
}


def leveled(sound: Any) -> bytes:
    return encode_s16le((0.3 * sound / np.max(np.abs(sound))).astype(np.float32))


@pytest.fixture
def eager(engine_with: Callable[..., Engine]) -> Callable[..., Engine]:
    """An engine that decides on any score after a second, so that only the guard is in the way."""

    def build(is_on: bool = True) -> Engine:
        decision = DecisionConfig(accept_llr=-900.0, reject_llr=-901.0)
        return engine_with(decision=decision, guard=GuardConfig(is_on=is_on))

    return build


def decision_of(events: list[Event]) -> DecisionMade:
    (decision,) = (event for event in events if isinstance(event, DecisionMade))
    return decision


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_that_is_no_speech_decides_nothing(
    eager: Any, voiceprints: Any, heard: Any, name: str
) -> None:
    decision = decision_of(heard(eager().verify(voiceprints["a"]), leveled(SOUNDS[name]())))
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.reason in (Reason.NOT_SPEECH, Reason.NOT_ENOUGH_SPEECH)


def test_the_reason_and_a_warning_say_that_it_is_no_speech(
    eager: Any, voiceprints: Any, heard: Any
) -> None:
    events = heard(eager().verify(voiceprints["a"]), leveled(SOUNDS["dial tone"]()))
    assert decision_of(events).reason is Reason.NOT_SPEECH
    warned = [event.quality for event in events if isinstance(event, QualityWarning)]
    assert Quality.NOT_SPEECH in warned


def test_without_the_guard_a_tone_is_evidence(eager: Any, voiceprints: Any, heard: Any) -> None:
    session = eager(is_on=False).verify(voiceprints["a"])
    assert decision_of(heard(session, leveled(SOUNDS["dial tone"]()))).verdict is Verdict.ACCEPT


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_voice_is_not_held_back_for_a_moment(
    eager: Any, voiceprints: Any, voice: Any, heard: Any, name: str
) -> None:
    data = encode_s16le(voice(name, 8))
    guarded, unguarded = (
        decision_of(heard(eager(is_on).verify(voiceprints[name]), data)) for is_on in (True, False)
    )
    assert guarded == unguarded


def test_a_looped_vowel_of_a_real_voice_is_not_accepted_for_another(
    engine_with: Any, voiceprints: Any, voice: Any, heard: Any
) -> None:
    pcm = voice("b", 8)
    levels = [float(np.mean(pcm[s : s + 2_400] ** 2)) for s in range(0, len(pcm) - 2_400, 800)]
    start = 800 * int(np.argmax(levels))
    data = encode_s16le(np.tile(pcm[start : start + 2_400], 60))
    engine = engine_with(decision=DecisionConfig(accept_llr=2.0, reject_llr=-2.5))
    events = heard(engine.verify([voiceprints["a"], voiceprints["c"]]), data)
    for event in events:
        assert not (isinstance(event, DecisionMade) and event.verdict is Verdict.ACCEPT)


def test_the_guard_hears_the_same_however_the_sound_is_cut(voice: Any) -> None:
    judge = SpeechJudge.load(bundled("guard.json"))
    pcm = voice("a", 4)
    logits = []
    for size in (1_280, 977, 64_000):
        guard = SpeechGuard(judge, GuardConfig())
        for start in range(0, len(pcm), size):
            guard.hear(pcm[start : start + size])
        logits.append(guard.speech_logit)
    assert logits[0] == logits[1] == logits[2]


def test_nothing_is_speech_before_anything_was_heard() -> None:
    guard = SpeechGuard(SpeechJudge.load(bundled("guard.json")), GuardConfig())
    assert guard.speech_logit is None
    assert not guard.is_speech
    assert not guard.is_surely_no_speech


@pytest.mark.parametrize("logit", [5.0, -4.5, float("nan")])
def test_an_impossible_threshold_is_refused(logit: float) -> None:
    with pytest.raises(ConfigError, match="min_speech_logit"):
        GuardConfig(min_speech_logit=logit)


def test_a_guard_is_read_as_it_was_written(tmp_path: Path) -> None:
    judge = SpeechJudge.load(bundled("guard.json"))
    judge.save(tmp_path / "guard.json")
    again = SpeechJudge.load(tmp_path / "guard.json")
    measures = np.linspace(-2, 2, len(judge.center))
    assert again.logit(measures) == pytest.approx(judge.logit(measures), abs=1e-4)


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": "streamsv-guard"}'])
def test_a_damaged_guard_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "guard.json"
    path.write_text(damage)
    with pytest.raises(ConfigError, match=r"guard\.json"):
        SpeechJudge.load(path)


def test_a_guard_with_a_number_missing_is_refused(tmp_path: Path) -> None:
    content = json.loads(bundled("guard.json").read_text())
    content["scale"].pop()
    path = tmp_path / "guard.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="speech guard"):
        SpeechJudge.load(path)
