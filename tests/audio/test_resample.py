"""16 kHz out of any rate, in the right place, whatever the cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsv.audio import Resampler
from streamsv.audio.resample import block_samples
from streamsv.errors import UnsupportedAudio

RATES = [8000, 8001, 11_025, 12_345, 22_050, 32_000, 44_100, 47_999, 48_000]


def resampled(pcm, rate):
    resampler = Resampler(rate)
    return np.concatenate([resampler.push(pcm), resampler.finish()])


@pytest.mark.parametrize("rate", [*RATES, 16_000])
def test_output_sample_k_is_the_signal_at_k_over_16000_seconds(rate):
    frequency_hz = 440.0
    source = np.sin(2 * np.pi * frequency_hz * np.arange(rate) / rate).astype(np.float32)
    output = resampled(source, rate)
    expected = np.sin(2 * np.pi * frequency_hz * np.arange(len(output)) / 16_000)
    inside = slice(800, -800)
    assert np.max(np.abs(output - expected)[inside]) < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_an_impulse_stays_where_it_was(rate):
    source = np.zeros(rate, np.float32)
    source[rate // 2] = 1
    assert np.argmax(resampled(source, rate)) == pytest.approx(16_000 * (rate // 2) / rate, abs=0.6)


@pytest.mark.parametrize("rate", [*RATES, 16_000])
@pytest.mark.parametrize("samples", [0, 1, 79, 1000, 20_011])
def test_as_much_time_comes_out_as_went_in(rate, samples):
    output = resampled(np.full(samples, 0.1, np.float32), rate)
    assert len(output) == pytest.approx(samples * 16_000 / rate, abs=1)


@pytest.mark.parametrize("rate", [32_000, 44_100, 48_000])
def test_what_16_khz_cannot_carry_is_filtered_out(rate):
    too_high = np.sin(2 * np.pi * 10_000 * np.arange(rate) / rate).astype(np.float32)
    assert np.max(np.abs(resampled(too_high, rate)[1600:-1600])) < 1e-4


def test_16_khz_passes_unchanged_at_once():
    source = np.random.default_rng(1).uniform(-1, 1, 777).astype(np.float32)
    resampler = Resampler(16_000)
    output = resampler.push(source)
    assert output.tobytes() == source.tobytes()
    assert not np.shares_memory(output, source)
    assert len(resampler.finish()) == 0


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([*RATES, 16_000]) | st.integers(8000, 48_000),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_cuts_between_chunks_never_change_a_bit_of_the_output(split, rate, sizes, seed):
    source = np.random.default_rng(seed).uniform(-1, 1, 12_000).astype(np.float32)
    resampler = Resampler(rate)
    pieces = [resampler.push(piece) for piece in split(source, sizes)]
    pieces.append(resampler.finish())
    assert np.concatenate(pieces).tobytes() == resampled(source, rate).tobytes()


@pytest.mark.parametrize("end", ["reset", "finish"])
def test_after_reset_or_finish_a_new_stream_begins(end):
    source = np.random.default_rng(2).uniform(-1, 1, 5000).astype(np.float32)
    resampler = Resampler(8000)
    resampler.push(source[:1234])
    getattr(resampler, end)()
    again = np.concatenate([resampler.push(source), resampler.finish()])
    assert again.tobytes() == resampled(source, 8000).tobytes()


def test_output_comes_within_a_fifth_of_a_second():
    for rate in RATES:
        pushed = rate // 5
        ready = Resampler(rate).push(np.zeros(pushed, np.float32))
        assert len(ready) > 0, rate


@given(st.integers(8000, 48_000))
def test_the_fixed_block_is_10_to_40_ms_and_exact_where_it_can_be(rate):
    block = block_samples(rate)
    assert 0.010 <= block / rate <= 0.0401
    if rate % 25 == 0:
        assert block * 100 % rate == 0


@pytest.mark.parametrize("rate", [0, -8000])
def test_a_rate_that_is_not_positive_is_refused(rate):
    with pytest.raises(UnsupportedAudio, match="positive"):
        Resampler(rate)
