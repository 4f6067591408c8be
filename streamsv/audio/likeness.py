"""What the sound of the last seconds is like, in numbers that tell speech from music and noise.

Speech changes its spectrum several times a second, between voiced and unvoiced sounds, with a
pitch that glides; a tone or a hum does not change, noise has no pitch, music holds its notes, one
vowel said again and again always has the same spectrum (Scheirer and Slaney, "Construction and
evaluation of a robust multifeature speech/music discriminator", 1997). Nothing above 3.8 kHz is
looked at, so that a telephone and a wideband microphone are measured alike, and the level of the
recording does not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamsv.audio.formats import SAMPLE_RATE

Floats = NDArray[np.float64]

BANDS = 20
WINDOW_S = 2.0
"""How much of the past the numbers describe."""

FRAME_SAMPLES = 320
STEP_SAMPLES = 16 * FRAME_SAMPLES
"""The numbers are brought up to date every 320 ms: a call on numpy costs more than its work."""

_SPAN_SAMPLES = 2 * FRAME_SAMPLES
_FFT = 1024
_LOW_HZ, _HIGH_HZ = 100.0, 3_800.0
_PITCH_HZ = (70.0, 400.0)
_LAGS = (1, 4, 10)
"""Frames between two spectra that are compared: 20, 80 and 200 ms."""

_GROUPS = 4
_DYNAMIC_RANGE = np.log(10.0) * 3.0
"""A frame 30 dB below the loudest of late weighs nothing."""

_PEAK_FALLS = np.log(10.0) * 0.3 * STEP_SAMPLES / SAMPLE_RATE
"""What the loudest level falls by in one step: 3 dB a second."""

_FLOOR = 1e-10
_FROM_MEAN, _FROM_SQUARE = 1, 1 + BANDS
_FROM_MOTION = 1 + 2 * BANDS
_FROM_REST = _FROM_MOTION + _GROUPS * len(_LAGS)
_RAW = _FROM_REST + 13

MEASURES = 2 * BANDS + _GROUPS * len(_LAGS) + 11
"""How many numbers there are."""


def _mel(hz: float) -> float:
    return 1127.0 * float(np.log1p(hz / 700.0))


def _filters() -> Floats:
    """Triangles of equal area on the mel scale: (bins, bands)."""
    edges = 700.0 * np.expm1(np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2) / 1127.0)
    bins = np.arange(_FFT // 2 + 1)[:, None] * SAMPLE_RATE / _FFT
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0.0, None)
    return np.asarray(filters / filters.sum(axis=0), np.float64)


_WINDOW = np.hanning(_SPAN_SAMPLES)
_FILTERS = _filters()
_LAG_FROM, _LAG_TO = (round(SAMPLE_RATE / hz) for hz in reversed(_PITCH_HZ))
_CORRELATION = np.fft.irfft(np.abs(np.fft.rfft(_WINDOW, _FFT)) ** 2)[_LAG_FROM:_LAG_TO]
_CORRELATION = _CORRELATION / np.sum(_WINDOW**2)
_LOW_BIN, _HIGH_BIN = (round(hz * _FFT / SAMPLE_RATE) for hz in (_LOW_HZ, _HIGH_HZ))


class LikenessMeter:
    """Measures one stream, 320 ms at a time; fixed cost and memory."""

    def __init__(self) -> None:
        self._tail = np.zeros(_SPAN_SAMPLES - FRAME_SAMPLES)
        self._shapes = np.zeros((max(_LAGS), BANDS))
        self._energy = 0.0
        self._pitch = 0.0
        self._peak = -np.inf
        self._steps = 0
        ring_steps = round(WINDOW_S * SAMPLE_RATE / STEP_SAMPLES)
        self._ring = np.zeros((ring_steps, _RAW))

    def measure(self, pcm: NDArray[np.float32]) -> Floats:
        """The measures after 320 ms more.

        Parameters
        ----------
        pcm:
            float32, shape (5120,), 16 kHz, in [-1, 1].

        Returns
        -------
        float64, shape (`MEASURES`,), of the last two seconds, or of all there is at first: mean
        and spread of the spectrum's shape in 20 bands (40); how far it moves in 20, 80 and 200
        ms, in four groups of bands (12); spread and motion of the level (2); mean and spread of
        the periodicity (2), spread and motion of the pitch (2); mean and spread of the flatness
        (2) and of the share of the strongest line (2); the weight of loud frames (1). Frames
        count by their loudness.
        """
        span = np.concatenate([self._tail, pcm])
        self._tail = span[STEP_SAMPLES:]
        halves = span.reshape(-1, FRAME_SAMPLES)
        frames = np.concatenate([halves[:-1], halves[1:]], axis=1)
        spectrum = np.fft.rfft(frames * _WINDOW, _FFT)
        power = spectrum.real**2 + spectrum.imag**2
        self._ring[self._steps % len(self._ring)] = self._summed(power)
        self._steps += 1
        return self._described()

    def _summed(self, power: Floats) -> Floats:
        """What one step adds to the sums of the window: (raw,)."""
        bands = np.log(power @ _FILTERS + _FLOOR)
        energy = np.log(np.sum(np.exp(bands), axis=1))
        shape = bands - bands.mean(axis=1, keepdims=True)
        periodicity, pitch = _periodicity(power)
        audible = power[:, _LOW_BIN:_HIGH_BIN]
        line = audible.max(axis=1) / (audible.sum(axis=1) + _FLOOR)
        flatness = bands.mean(axis=1) - energy
        self._peak = max(self._peak - _PEAK_FALLS, float(energy.max()))
        weight = np.clip(1.0 + (energy - self._peak) / _DYNAMIC_RANGE, 1e-3, 1.0)
        joined = np.concatenate([self._shapes, shape])
        held, here = len(self._shapes), len(shape)
        raw = np.empty(_RAW)
        raw[0] = weight.sum()
        raw[_FROM_MEAN:_FROM_SQUARE] = weight @ shape
        raw[_FROM_SQUARE:_FROM_MOTION] = weight @ shape**2
        for row, lag in enumerate(_LAGS):
            motion = weight @ np.abs(shape - joined[held - lag : held - lag + here])
            start = _FROM_MOTION + row * _GROUPS
            raw[start : start + _GROUPS] = motion.reshape(_GROUPS, -1).mean(axis=1)
        steps = np.abs(np.diff(energy, prepend=self._energy))
        turns = np.abs(np.diff(pitch, prepend=self._pitch))
        voiced = weight * periodicity**2
        raw[_FROM_REST:] = (
            here,
            energy.sum(),
            (energy**2).sum(),
            np.minimum(steps, 3.0).sum(),
            weight @ periodicity,
            weight @ periodicity**2,
            voiced @ pitch,
            voiced @ pitch**2,
            voiced @ np.minimum(turns, 0.5),
            weight @ flatness,
            weight @ flatness**2,
            weight @ line,
            weight @ line**2,
        )
        self._shapes = joined[here:]
        self._energy, self._pitch = float(energy[-1]), float(pitch[-1])
        return raw

    def _described(self) -> Floats:
        raw = self._ring.sum(axis=0)
        weight = raw[0]
        mean = raw[_FROM_MEAN:_FROM_SQUARE] / weight
        deviation = np.sqrt(np.maximum(raw[_FROM_SQUARE:_FROM_MOTION] / weight - mean**2, 0.0))
        motion = raw[_FROM_MOTION:_FROM_REST] / weight
        rest = raw[_FROM_REST:]
        frames, voiced = rest[0], max(rest[5], 1e-6)
        return np.concatenate(
            [
                mean,
                deviation,
                motion,
                (
                    _deviation(rest[1] / frames, rest[2] / frames),
                    rest[3] / frames,
                    rest[4] / weight,
                    _deviation(rest[4] / weight, rest[5] / weight),
                    _deviation(rest[6] / voiced, rest[7] / voiced),
                    rest[8] / voiced,
                    rest[9] / weight,
                    _deviation(rest[9] / weight, rest[10] / weight),
                    rest[11] / weight,
                    _deviation(rest[11] / weight, rest[12] / weight),
                    weight / frames,
                ),
            ]
        )


def _deviation(mean: float, square: float) -> float:
    return float(np.sqrt(max(square - mean * mean, 0.0)))


def _periodicity(power: Floats) -> tuple[Floats, Floats]:
    """The highest autocorrelation of each frame over lags of a voice, and the log of its pitch.

    Divided by the window's own (Boersma 1993), so that a periodic sound has 1 at its period.
    """
    correlation = np.fft.irfft(power)[:, :_LAG_TO]
    ratio = correlation[:, _LAG_FROM:] / (correlation[:, :1] + _FLOOR) / _CORRELATION
    best = ratio.argmax(axis=1)
    highest = np.clip(ratio[np.arange(len(best)), best], 0.0, 1.0)
    return highest, -np.log((best + _LAG_FROM) / SAMPLE_RATE)
