from __future__ import annotations

import dataclasses
from typing import Any, cast

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamsv.nn.config import ModelConfig
from streamsv.nn.frontend import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    LogMel,
    LogMelFrontEnd,
    NormedConv,
    WaveformFrontEnd,
    mel_filters,
)
from streamsv.nn.streaming import Streaming

WINDOW, SHIFT, LEFT, FFT = 400, 160, 320, 512
CONFIG = ModelConfig(dim=16, group_groups=16, waveform_channels=12)


def direct_mel_power(pcm: NDArray[np.float64], bands: int) -> NDArray[np.float64]:
    """(samples,) -> (frames, bands): numpy's FFT of each windowed frame, then triangles in mel."""
    padded = np.concatenate([np.zeros(WINDOW - SHIFT), pcm])
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::SHIFT]
    window = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW) ** 2
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    mels = 1127 * np.log(1 + hertz / 700)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 7600 / 700), bands + 2)
    triangles = [
        np.interp(mels, edges[band : band + 3], [0.0, 1.0, 0.0], left=0.0, right=0.0)
        for band in range(bands)
    ]
    return np.asarray(power @ np.stack(triangles, axis=1), dtype=np.float64)


def log_energies(layer: LogMel, pcm: Tensor) -> Tensor:
    """(batch, samples) -> (batch, frames, mels), from a fresh state."""
    return layer.log_energies(torch.nn.functional.pad(pcm, (LEFT, 0)))


def seen(output: Tensor, pcm: Tensor) -> tuple[int, int]:
    """The first and the last sample from which ``output`` has a gradient."""
    pull = (output * torch.randn_like(output)).sum()
    (gradient,) = torch.autograd.grad(pull, pcm, retain_graph=True)
    samples = gradient.flatten().nonzero()
    return int(samples.min()), int(samples.max())


def test_the_filters_are_those_of_kaldi() -> None:
    options = kaldi_native_fbank.MelBanksOptions()
    options.num_bins, options.low_freq, options.high_freq = 80, 20, 7600
    framing = kaldi_native_fbank.FrameExtractionOptions()
    framing.samp_freq, framing.frame_length_ms, framing.frame_shift_ms = SAMPLE_RATE, 25, 10
    kaldi = kaldi_native_fbank.MelBanks(options, framing, 1.0).get_matrix()
    np.testing.assert_allclose(mel_filters(80).numpy().T, kaldi, atol=5e-5)


def test_every_band_of_the_default_hears_something() -> None:
    assert (mel_filters(ModelConfig().mels).sum(dim=0) > 0).all()


@pytest.mark.parametrize("voice", ["voice_a_call", "noise"])
def test_log_mel_energies_are_those_of_a_direct_fourier_transform(voice: str, clips: Any) -> None:
    if voice == "noise":
        pcm = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    else:
        pcm = clips.pcm(voice)[SAMPLE_RATE : 3 * SAMPLE_RATE]
    layer = LogMel(CONFIG)
    energies = log_energies(layer, torch.tensor(pcm)[None])[0].numpy()
    expected = np.log(direct_mel_power(pcm.astype(np.float64), CONFIG.mels) + CONFIG.log_floor)
    assert energies.shape == (200, CONFIG.mels)
    np.testing.assert_allclose(energies, expected, atol=1e-3)


def test_what_comes_out_is_the_energy_less_its_mean_so_far_over_the_spread() -> None:
    layer = LogMel(CONFIG)
    prior, spread = torch.randn(CONFIG.mels), torch.rand(CONFIG.mels) + 0.5
    layer.set_statistics(prior, spread)
    pcm = torch.randn(1, SAMPLE_RATE) * 0.1
    energies = log_energies(layer, pcm)[0].double()
    seeded = CONFIG.norm_prior_s * SAMPLE_RATE / SHIFT
    counts = seeded + torch.arange(1, 101)[:, None]
    means = (seeded * prior + energies.cumsum(dim=0)) / counts
    torch.testing.assert_close(
        layer(pcm[:, :, None])[0].double(), (energies - means) / spread, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("level", [-0.9, 0.01, 0.5, 1.0])
def test_dc_never_leaks_a_constant_is_the_floor(level: float) -> None:
    energies = log_energies(LogMel(CONFIG), torch.full((1, SAMPLE_RATE), level))
    inside = energies[:, WINDOW // SHIFT :]
    torch.testing.assert_close(
        inside, torch.full_like(inside, float(np.log(CONFIG.log_floor))), rtol=0.0, atol=1e-3
    )


def test_dc_under_speech_changes_nothing() -> None:
    pcm = torch.randn(1, SAMPLE_RATE) * 0.05
    layer = LogMel(CONFIG)
    clean, shifted = log_energies(layer, pcm), log_energies(layer, pcm + 0.3)
    torch.testing.assert_close(shifted[:, 2:], clean[:, 2:], rtol=0.0, atol=1e-3)


def test_gain_fades_as_the_running_mean_forgets_its_prior() -> None:
    """A gain adds 2 ln g to every log energy, and the mean follows but for the prior's share."""
    layer, gain = LogMel(dataclasses.replace(CONFIG, log_floor=1e-12)), 4.0
    pcm = torch.randn(1, 20 * SAMPLE_RATE, 1) * 0.1
    difference = (layer(gain * pcm) - layer(pcm)).mean(dim=(0, 2))
    seeded = CONFIG.norm_prior_s * SAMPLE_RATE / SHIFT
    counts = torch.arange(1, len(difference) + 1)
    expected = 2 * float(np.log(gain)) * seeded / (seeded + counts)
    torch.testing.assert_close(difference, expected, rtol=0.0, atol=1e-3)
    assert difference[-1] < 0.05


@pytest.mark.parametrize("front_end", [LogMelFrontEnd(CONFIG), WaveformFrontEnd(CONFIG)])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_n_times_320_samples_give_exactly_n_frames(front_end: Streaming, count: int) -> None:
    pcm = torch.randn(2, count * FRAME_SAMPLES, 1)
    assert front_end(pcm).shape == (2, count, CONFIG.dim)


def test_a_log_mel_frame_sees_the_400_samples_that_end_with_it() -> None:
    pcm = torch.randn(1, 8 * SHIFT).requires_grad_()
    energies = log_energies(LogMel(CONFIG), pcm)
    for frame in range(8):
        end = (frame + 1) * SHIFT
        assert seen(energies[0, frame], pcm) == (max(0, end - WINDOW), end - 1)


def test_a_waveform_frame_sees_the_400_samples_that_end_with_it() -> None:
    front_end = WaveformFrontEnd(CONFIG)
    pcm = torch.randn(1, 5 * FRAME_SAMPLES, 1).requires_grad_()
    frames = front_end(pcm)
    for frame in range(5):
        end = (frame + 1) * FRAME_SAMPLES
        assert seen(frames[0, frame], pcm) == (max(0, end - WINDOW), end - 1)


def test_both_front_ends_end_their_frames_at_the_same_sample() -> None:
    for front_end in (LogMelFrontEnd(CONFIG), WaveformFrontEnd(CONFIG)):
        pcm = torch.randn(1, 5 * FRAME_SAMPLES, 1).requires_grad_()
        frames = front_end(pcm)
        assert [seen(frames[0, i], pcm)[1] for i in range(5)] == [
            (i + 1) * FRAME_SAMPLES - 1 for i in range(5)
        ]


@torch.no_grad()
def test_the_waveform_front_end_is_wavlms_convolutions_under_causal_padding() -> None:
    """torch's own Conv1d with the same weights, over the input padded by 80 zeros on the left:
    400 samples seen, less the 320 of a frame."""
    front_end = WaveformFrontEnd(CONFIG)
    pcm = torch.randn(1, 10 * FRAME_SAMPLES, 1)
    y = torch.nn.functional.pad(pcm.transpose(1, 2), (80, 0))
    for module, kernel in zip(front_end.layers, (10, 3, 3, 3, 3, 2, 2), strict=True):
        layer = cast(NormedConv, module)
        taps = layer.conv.linear.weight.reshape(CONFIG.waveform_channels, kernel, -1)
        y = torch.nn.functional.conv1d(y, taps.transpose(1, 2), stride=layer.stride)
        y = torch.nn.functional.gelu(layer.norm(y.transpose(1, 2))).transpose(1, 2)
    y = front_end.project(front_end.norm(y.transpose(1, 2)))
    given = front_end(pcm)
    torch.testing.assert_close(given[:, 1:], y[:, 1:], rtol=1e-4, atol=1e-5)
