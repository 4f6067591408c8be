"""Measures of the last seconds: the same at any level, and different for a tone and for a voice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamsv.audio.likeness import MEASURES, STEP_SAMPLES, WINDOW_S, LikenessMeter


def measured(pcm: Any) -> Any:
    meter = LikenessMeter()
    steps = pcm[: len(pcm) // STEP_SAMPLES * STEP_SAMPLES].reshape(-1, STEP_SAMPLES)
    return np.array([meter.measure(step) for step in steps])


@pytest.fixture(scope="module")
def voice(clips: Any) -> Any:
    return clips.pcm("voice_a_call")[: 6 * 16_000]


def test_every_step_gives_as_many_finite_numbers(voice: Any) -> None:
    found = measured(voice)
    assert found.shape == (len(voice) // STEP_SAMPLES, MEASURES)
    assert np.isfinite(found).all()
    assert np.isfinite(measured(np.zeros(32_000, np.float32))).all()


def test_the_level_of_the_recording_does_not_count(voice: Any) -> None:
    np.testing.assert_allclose(measured(voice * np.float32(0.25)), measured(voice), atol=0.05)


def test_what_is_older_than_the_window_is_forgotten(voice: Any) -> None:
    generator = np.random.default_rng(3)
    later = voice[: round(2 * WINDOW_S * 16_000)]
    before = 0.05 * generator.standard_normal(10 * STEP_SAMPLES).astype(np.float32)
    alone, after = measured(later)[-1], measured(np.concatenate([before, later]))[-1]
    np.testing.assert_allclose(after, alone, atol=1e-3)


def test_a_voice_moves_and_a_tone_stands_still(voice: Any) -> None:
    time = np.arange(6 * 16_000) / 16_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    motion = slice(40, 52)
    assert measured(voice)[-1][motion].mean() > 10 * measured(tone)[-1][motion].mean()
