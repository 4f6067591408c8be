"""What the benchmark listens to is what it says it is."""

from __future__ import annotations

import numpy as np
import pytest

from streamsv.audio import GateConfig, SpeechGate
from streamsv.bench.sound import CALL_SPEECH_SHARE, call_audio, clips, mixed_audio, voiced_audio

GATE = GateConfig()


def admitted_share(pcm: np.ndarray) -> float:
    gate = SpeechGate(GATE)
    gate.push(pcm)
    return gate.admitted_samples / len(pcm)


def test_voiced_audio_is_speech_without_a_pause() -> None:
    pcm = voiced_audio(10.0, GATE)
    assert (pcm.dtype, pcm.shape) == (np.float32, (160_000,))
    assert admitted_share(pcm) > 0.95


@pytest.mark.parametrize("seconds", [4.0, 20.0, 30.5])
def test_a_call_has_its_share_of_speech(seconds: float) -> None:
    pcm = call_audio(seconds, GATE)
    assert (pcm.dtype, pcm.shape) == (np.float32, (round(seconds * 16_000),))
    assert admitted_share(pcm) == pytest.approx(CALL_SPEECH_SHARE, abs=0.005)


def test_mixed_audio_has_a_part_of_every_clip() -> None:
    pcm = mixed_audio(8.0)
    assert (pcm.dtype, pcm.shape) == (np.float32, (128_000,))
    for number, clip in enumerate(clips()):
        part = pcm[number * 32_000 : (number + 1) * 32_000]
        np.testing.assert_array_equal(part, clip[:32_000])


def test_any_length_can_be_had() -> None:
    assert len(mixed_audio(200.0)) == len(voiced_audio(200.0, GATE)) == 3_200_000
