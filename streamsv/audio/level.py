"""How loud the speech is, how loud the rest, and whether it clips.

Powers are of the signal without its mean, relative to a full scale of 1.0, so that a square
wave between -1 and 1 is 0 dBFS.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray

from streamsv.audio.formats import SAMPLE_RATE

TIME_CONSTANT_S = 10.0
"""Speech (or non-speech) this long ago weighs 1/e of what is heard now, each on its own clock."""

MIN_HEARD_S = 0.3
"""There is no SNR before this much of both speech and non-speech was heard."""

CLIPPED_FROM = 0.985
"""A sample of this magnitude counts as clipped."""

MIN_SNR_DB, MAX_SNR_DB = -10.0, 60.0

UNBROKEN_S = 5.0
"""Speech without a single pause for this long is taken to hold noise that passes for speech."""

_FLOOR_FRAMES = 5
_CLIPPING_WINDOW_SAMPLES = SAMPLE_RATE
_MIN_HEARD_SAMPLES = round(MIN_HEARD_S * SAMPLE_RATE)
_TIME_CONSTANT_SAMPLES = TIME_CONSTANT_S * SAMPLE_RATE
_UNBROKEN_SAMPLES = UNBROKEN_S * SAMPLE_RATE
_SILENCE_POWER = 1e-12
_SMALL_OFFSET = 0.01
_FRAME = 480  # as many as a frame of the gate has
_FRAME_KEEP = math.exp(-_FRAME / _TIME_CONSTANT_SAMPLES)


@dataclasses.dataclass(frozen=True, slots=True)
class Levels:
    """The levels at one moment of a stream.

    Parameters
    ----------
    snr_db:
        Speech against the rest, in [-10, 60], or ``None`` while too little was heard of either.
    speech_dbfs:
        Mean level of speech frames, or ``None`` before the first.
    noise_dbfs:
        Mean level of non-speech, or ``None`` before the first.
    clipped_fraction:
        Share of clipped samples in the last second of speech, in [0, 1].
    """

    snr_db: float | None
    speech_dbfs: float | None
    noise_dbfs: float | None
    clipped_fraction: float


class LevelMeter:
    """Running levels of one stream, from frames that were judged to be speech or not.

    Loud noise can pass for speech, and then there is no pause to measure it in. So after five
    seconds without one, the quietest five frames in a row of these seconds count as noise: the
    floor of minimum statistics (R. Martin, "Noise power spectral density estimation based on
    optimal smoothing and minimum statistics", 2001), in one band.
    """

    __slots__ = (
        "_clipped",
        "_clipped_samples",
        "_floors",
        "_latest",
        "_noise",
        "_speech",
        "_window_samples",
    )

    def __init__(self) -> None:
        self._speech = _RunningMean()
        self._noise = _RunningMean()
        self._clipped: collections.deque[tuple[int, int]] = collections.deque()
        self._clipped_samples = 0
        self._window_samples = 0
        self._latest: collections.deque[float] = collections.deque(maxlen=_FLOOR_FRAMES)
        self._floors = _SlidingMinimum()

    def add_speech(self, power: float, samples: int, clipped: int) -> None:
        """Count a frame of speech.

        Parameters
        ----------
        power:
            ``frame_power`` of the frame.
        samples, clipped:
            Its length at 16 kHz, and how many of these samples clip: ``clipped_samples`` of it.
        """
        self._speech.add(power, samples)
        latest, floors = self._latest, self._floors
        latest.append(power)
        if len(latest) == _FLOOR_FRAMES:
            floors.append(sum(latest) / _FLOOR_FRAMES, samples)
        if floors.samples > _UNBROKEN_SAMPLES:
            floors.popleft()
            self._noise.add(floors.minimum, samples)
        self._clipped.append((clipped, samples))
        self._clipped_samples += clipped
        self._window_samples += samples
        while self._window_samples > _CLIPPING_WINDOW_SAMPLES and len(self._clipped) > 1:
            past_clipped, past_samples = self._clipped.popleft()
            self._clipped_samples -= past_clipped
            self._window_samples -= past_samples

    def add_noise(self, power: float, samples: int) -> None:
        """Count a frame of ``samples`` samples at 16 kHz in which nobody speaks."""
        self._noise.add(power, samples)
        if self._latest:
            self._latest.clear()
            self._floors.clear()

    @property
    def snr_db(self) -> float | None:
        """10 log10((P_speech - P_noise) / P_noise), in [-10, 60]; ``None`` while not known.

        Speech frames hold the noise too, so its power is subtracted from theirs.
        """
        return self.levels.snr_db

    @property
    def levels(self) -> Levels:
        """The levels now."""
        return levels_at(self.moment)

    @property
    def moment(self) -> Moment:
        """What ``levels_at`` needs to tell the levels of now at any time later."""
        speech, noise = self._speech, self._noise
        return (
            speech.samples,
            speech.sum,
            speech.weight,
            noise.samples,
            noise.sum,
            noise.weight,
            self._clipped_samples,
            self._window_samples,
        )


Moment = tuple[int, float, float, int, float, float, int, int]
"""A meter at one moment: samples, weighted power and weight of speech, the same of the rest, and
the clipped samples among those of the last second. Taken for every frame, where only some are asked
for their levels, so nothing is worked out yet."""


def levels_at(moment: Moment) -> Levels:
    """The levels at a ``moment`` of a meter."""
    speech_samples, speech, speech_weight, noise_samples, noise, noise_weight, clipped, of = moment
    speech_power = speech / speech_weight if speech_weight else 0.0
    noise_power = noise / noise_weight if noise_weight else 0.0
    is_known = speech_samples >= _MIN_HEARD_SAMPLES and noise_samples >= _MIN_HEARD_SAMPLES
    return Levels(
        _snr_db(speech_power, noise_power) if is_known else None,
        power_dbfs(speech_power) if speech_samples else None,
        power_dbfs(noise_power) if noise_samples else None,
        clipped / (of or 1),
    )


def frame_energy(frame: NDArray[np.float32]) -> float:
    """Sum of the squares of a frame, float32 of shape (samples,)."""
    return float(frame.dot(frame))


def frame_power(frame: NDArray[np.float32], energy: float | None = None) -> float:
    """Mean square of a frame after its mean is removed, so that DC has none.

    Parameters
    ----------
    frame:
        float32, shape (samples,), not empty.
    energy:
        Its `frame_energy`, if that is known.
    """
    samples = len(frame)
    mean_square = (frame_energy(frame) if energy is None else energy) / samples
    mean = float(frame.dot(_ones(samples))) / samples
    offset = mean * mean
    if offset <= _SMALL_OFFSET * mean_square:
        return mean_square - offset
    # The difference of two numbers that are nearly the same would be rounding, and no power.
    centered = frame - np.float32(mean)
    return float(centered.dot(centered)) / samples


@functools.lru_cache(maxsize=4)
def _ones(samples: int) -> NDArray[np.float32]:
    return np.ones(samples, np.float32)


def clipped_samples(frame: NDArray[np.float32]) -> int:
    """How many samples of a frame, float32 (samples,), not empty, clip.

    >>> clipped_samples(np.array([0.99, -0.99, 0.98], np.float32))
    2
    """
    if frame[frame.argmax()] < CLIPPED_FROM and frame[frame.argmin()] > -CLIPPED_FROM:
        return 0  # the usual answer, at half the cost
    return int(np.count_nonzero(np.abs(frame) >= CLIPPED_FROM))


def power_dbfs(power: float) -> float:
    """A mean square in dBFS; silence is -120.

    >>> power_dbfs(0.01)
    -20.0
    """
    return 10 * math.log10(max(power, _SILENCE_POWER))


def _snr_db(speech_power: float, noise_power: float) -> float:
    noise = max(noise_power, _SILENCE_POWER)
    speech = max(speech_power - noise, _SILENCE_POWER)
    return min(max(10 * math.log10(speech / noise), MIN_SNR_DB), MAX_SNR_DB)


class _RunningMean:
    """A mean that forgets: a sample t seconds old weighs exp(-t / TIME_CONSTANT_S)."""

    __slots__ = ("samples", "sum", "weight")

    def __init__(self) -> None:
        self.samples = 0
        self.sum = 0.0
        self.weight = 0.0

    def add(self, power: float, samples: int) -> None:
        keep = _FRAME_KEEP if samples == _FRAME else math.exp(-samples / _TIME_CONSTANT_SAMPLES)
        self.sum = keep * self.sum + samples * power
        self.weight = keep * self.weight + samples
        self.samples += samples


class _SlidingMinimum:
    """The least of a queue of values, without looking at all of them.

    A value that is followed by a smaller one can never be the least again, so of those that may
    yet be, kept in order, the first is the least (the ascending minima of R. Harter, 2001).
    """

    __slots__ = ("_appended", "_candidates", "_lengths", "_popped", "samples")

    def __init__(self) -> None:
        self._lengths: collections.deque[int] = collections.deque()
        self._candidates: collections.deque[tuple[float, int]] = collections.deque()
        self.clear()

    def clear(self) -> None:
        self._lengths.clear()
        self._candidates.clear()
        self._appended = self._popped = self.samples = 0

    def append(self, value: float, samples: int) -> None:
        candidates = self._candidates
        while candidates and candidates[-1][0] >= value:
            candidates.pop()
        candidates.append((value, self._appended))
        self._lengths.append(samples)
        self._appended += 1
        self.samples += samples

    def popleft(self) -> None:
        self.samples -= self._lengths.popleft()
        if self._candidates[0][1] == self._popped:
            self._candidates.popleft()
        self._popped += 1

    @property
    def minimum(self) -> float:
        return self._candidates[0][0]
