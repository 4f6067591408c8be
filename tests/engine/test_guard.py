"""What is no speech is no evidence: sounds of this file's own making, and real voices."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import pytest

from streamsv.audio import encode_s16le
from streamsv.encoder import Encoder
from streamsv.engine import Engine, bundled
from streamsv.engine.config import GuardConfig
from streamsv.engine.guard import HEARD, SpeechGuard
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
def test_a_voice_is_held_back_until_there_is_enough_of_it_and_no_longer(
    eager: Any, voiceprints: Any, voice: Any, heard: Any, name: str
) -> None:
    data = encode_s16le(voice(name, 8))
    guarded, unguarded = (
        decision_of(heard(eager(is_on).verify(voiceprints[name]), data)) for is_on in (True, False)
    )
    assert guarded.verdict is unguarded.verdict
    assert unguarded.net_speech_s < 80 / 4.0 * 0.08 <= guarded.net_speech_s <= 2.5


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


def test_nothing_is_speech_before_anything_was_heard() -> None:
    guard = SpeechGuard(GuardConfig())
    assert guard.speech_logit is None
    assert not guard.is_speech
    assert not guard.is_surely_no_speech


def test_the_guard_reads_the_mean_log_odds_in_the_state() -> None:
    guard = SpeechGuard(GuardConfig(min_speech_logit=1.0))
    found = []
    for logits, hops in ((18.0, 9.0), (5.0, 10.0), (-20.0, 11.0), (15.0, 12.0)):
        guard.hear({HEARD: np.array([[[logits, hops]]], np.float32)})
        found.append((guard.speech_logit, guard.is_speech))
    assert [is_speech for _, is_speech in found] == [True, False, False, True]
    assert found[-1][0] == pytest.approx(1.25)


def test_what_is_surely_no_speech_is_so_after_a_second() -> None:
    guard = SpeechGuard(GuardConfig())
    judged = []
    for hop in range(1, 16):
        guard.hear({HEARD: np.array([[[-4.0 * hop, 8.0 + hop]]], np.float32)})
        judged.append(guard.is_surely_no_speech)
    assert judged == [False] * 12 + [True] * 3


def test_a_model_without_a_speech_head_loads_and_has_no_guard(
    eager: Any, tmp_path: Path, voiceprints: Any, heard: Any
) -> None:
    engine = eager()
    path = tmp_path / "plain.onnx"
    onnx.save(without_head(onnx.load(bundled("default.onnx"))), path)
    encoder = Encoder(path)
    assert encoder.speech_head == {}
    for one, has_guard in ((encoder, False), (engine.encoder, True)):
        guard = SpeechGuard.of(one, GuardConfig(), one.initial_state())
        assert (guard is not None) is has_guard
    calibration = dataclasses.replace(engine.calibration, model_sha256=None)
    plain = Engine(encoder, calibration, engine.config)
    tone = leveled(SOUNDS["dial tone"]())
    assert decision_of(heard(plain.verify(voiceprints["a"]), tone)).verdict is Verdict.ACCEPT


def without_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as it would be exported without a speech head."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    del metadata["streamsv.guard"]
    states = json.loads(metadata["streamsv.initial_state"])
    kept = {name: state for name, state in states.items() if not name.startswith("guard.")}
    metadata["streamsv.initial_state"] = json.dumps(kept)
    inputs = ["pcm", *(f"state.{name}" for name in kept)]
    outputs = ["embedding", *(f"next.{name}" for name in kept)]
    plain = onnx.utils.Extractor(model).extract_model(inputs, outputs)
    onnx.helper.set_model_props(plain, metadata)
    return plain


@pytest.mark.parametrize("logit", [5.0, -4.5, float("nan")])
def test_an_impossible_threshold_is_refused(logit: float) -> None:
    with pytest.raises(ConfigError, match="min_speech_logit"):
        GuardConfig(min_speech_logit=logit)
