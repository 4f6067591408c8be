"""Levels and SNR agree with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.audio.level import (
    LevelMeter,
    clipped_samples,
    frame_power,
    levels_at,
    power_dbfs,
)

FRAME = 480


def add(meter: LevelMeter, frame: np.ndarray, is_speech: bool, times: int = 1) -> None:
    frame = frame.astype(np.float32)
    for _ in range(times):
        if is_speech:
            meter.add_speech(frame_power(frame), clipped_samples(frame))
        else:
            meter.add_noise(frame_power(frame))


def tone(amplitude: float) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 500 * np.arange(FRAME) / 16_000)


def test_the_power_of_a_sine_is_half_its_amplitude_squared():
    assert frame_power(tone(0.5).astype(np.float32)) == pytest.approx(0.125, rel=1e-5)


def test_dc_has_no_power():
    assert frame_power(np.full(FRAME, 0.7, np.float32)) < 1e-12
    shifted = frame_power((tone(0.1) + 0.5).astype(np.float32))
    assert shifted == pytest.approx(0.005, rel=1e-3)


@given(st.floats(-0.9, 0.9), st.floats(1e-3, 0.1))
def test_the_power_is_the_variance_however_large_the_mean(mean, amplitude):
    frame = (mean + tone(amplitude)).astype(np.float32)
    variance = np.var(frame.astype(np.float64))
    assert frame_power(frame) == pytest.approx(variance, rel=1e-3)


@pytest.mark.parametrize(("power", "dbfs"), [(1.0, 0.0), (0.01, -20.0), (0.0, -120.0)])
def test_levels_are_relative_to_full_scale(power, dbfs):
    assert power_dbfs(power) == pytest.approx(dbfs)


def test_nothing_is_known_before_anything_was_heard():
    levels = LevelMeter().levels
    assert (levels.snr_db, levels.speech_dbfs, levels.noise_dbfs) == (None, None, None)
    assert levels.clipped_fraction == 0


def test_snr_waits_for_0_3_seconds_of_both():
    meter = LevelMeter()
    add(meter, tone(0.1), True, 10)
    add(meter, tone(0.01), False, 9)
    assert meter.snr_db is None
    add(meter, tone(0.01), False)
    assert meter.snr_db is not None
    other = LevelMeter()
    add(other, tone(0.01), False, 30)
    add(other, tone(0.1), True, 9)
    assert other.snr_db is None


def test_noise_is_subtracted_from_speech_before_they_are_compared():
    meter = LevelMeter()
    add(meter, np.sqrt(2) * tone(1e-2), False, 20)
    add(meter, np.sqrt(11) * np.sqrt(2) * tone(1e-2), True, 20)
    assert meter.snr_db == pytest.approx(10.0, abs=1e-3)
    assert meter.levels.noise_dbfs == pytest.approx(-40.0, abs=1e-3)
    assert meter.levels.speech_dbfs == pytest.approx(-40.0 + 10 * np.log10(11), abs=1e-3)


def test_snr_stays_between_minus_10_and_60_db():
    quiet_speech, digital_silence = LevelMeter(), LevelMeter()
    add(quiet_speech, tone(0.1), False, 20)
    add(quiet_speech, tone(0.01), True, 20)
    assert quiet_speech.snr_db == -10
    add(digital_silence, np.zeros(FRAME), False, 20)
    add(digital_silence, tone(0.1), True, 20)
    assert digital_silence.snr_db == 60


def test_what_is_ten_seconds_old_weighs_a_third_of_what_is_new():
    meter = LevelMeter()
    add(meter, tone(0.1), True, 1)
    add(meter, np.zeros(FRAME), True, 333)
    old = 10 ** (meter.levels.speech_dbfs / 10)
    decay = np.exp(-0.03 / 10)
    expected = 0.005 * decay**333 / sum(decay**k for k in range(334))
    assert old == pytest.approx(expected, rel=1e-4)
    assert decay**333 == pytest.approx(1 / np.e, rel=0.01)


def test_speech_is_not_forgotten_while_nobody_speaks():
    meter = LevelMeter()
    add(meter, tone(0.1), True, 20)
    before = meter.levels.speech_dbfs
    add(meter, tone(0.001), False, 5000)
    assert meter.levels.speech_dbfs == before


def test_clipping_is_counted_over_the_last_second_of_speech():
    meter = LevelMeter()
    half_clipped = np.where(np.arange(FRAME) % 2, 0.99, 0.1)
    add(meter, half_clipped, True, 100)
    assert meter.levels.clipped_fraction == pytest.approx(0.5)
    add(meter, np.full(FRAME, -0.984), True, 16)
    assert 0.2 < meter.levels.clipped_fraction < 0.3
    add(meter, np.full(FRAME, -0.984), True, 18)
    assert meter.levels.clipped_fraction == 0


def test_noise_that_passes_for_speech_is_found_in_its_quietest_moments():
    meter = LevelMeter()
    for _ in range(6):
        add(meter, np.sqrt(1.1) * tone(0.1), True, 20)
        add(meter, tone(0.1), True, 10)
    assert meter.snr_db is not None
    assert meter.levels.noise_dbfs == pytest.approx(-23, abs=0.1)
    assert meter.snr_db == -10


def test_five_seconds_of_speech_with_one_pause_are_not_taken_for_noise():
    meter = LevelMeter()
    add(meter, tone(0.1), True, 160)
    add(meter, tone(0.001), False)
    add(meter, tone(0.1), True, 160)
    assert meter.levels.noise_dbfs == pytest.approx(-63, abs=0.1)


@given(st.lists(st.sampled_from([1e-5, 1e-4, 3e-4, 1e-3, 1e-2]), min_size=1, max_size=400))
def test_the_floor_is_the_least_mean_of_five_frames_in_the_last_five_seconds(powers):
    meter = LevelMeter()
    for power in powers:
        meter.add_speech(power, 0)
    means = [sum(powers[i : i + 5]) / 5 for i in range(len(powers) - 4)]
    floors = [min(means[i - 166 : i]) for i in range(167, len(means) + 1)]
    noise_sum = weight = 0.0
    for floor in floors:
        keep = np.exp(-0.03 / 10)
        noise_sum, weight = keep * noise_sum + floor, keep * weight + 1
    if not floors:
        assert meter.levels.noise_dbfs is None
    else:
        assert meter.levels.noise_dbfs == pytest.approx(10 * np.log10(noise_sum / weight))


def test_a_moment_tells_its_levels_whatever_comes_later():
    meter = LevelMeter()
    add(meter, tone(0.1), True, 20)
    add(meter, tone(0.01), False, 20)
    moment, levels = meter.moment, meter.levels
    add(meter, np.ones(FRAME), True, 50)
    assert levels_at(moment) == levels != meter.levels
