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

FRAME_MS = 30
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000
"""Levels are taken of frames of 30 ms, each of which is speech or is not."""

_FLOOR_FRAMES = 5
_CLIPPING_FRAMES = SAMPLE_RATE // FRAME_SAMPLES
_MIN_HEARD_FRAMES = math.ceil(MIN_HEARD_S * SAMPLE_RATE / FRAME_SAMPLES)
_UNBROKEN_FRAMES = int(UNBROKEN_S * SAMPLE_RATE / FRAME_SAMPLES)
_FRAME_DECAY = FRAME_SAMPLES / (TIME_CONSTANT_S * SAMPLE_RATE)
_FRAME_KEEP = math.exp(-_FRAME_DECAY)
_SILENCE_POWER = 1e-12
_SMALL_OFFSET = 0.01


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
        *("_clipped", "_clipped_samples", "_floors", "_latest"),
        *("_noise", "_noise_frames", "_speech", "_speech_frames"),
    )

    def __init__(self) -> None:
        self._speech = self._noise = 0.0
        self._speech_frames = self._noise_frames = 0
        self._clipped: collections.deque[int] = collections.deque()
        self._clipped_samples = 0
        self._latest: collections.deque[float] = collections.deque(maxlen=_FLOOR_FRAMES)
        self._floors = _SlidingMinimum()

    def add_speech(self, power: float, clipped: int) -> None:
        """Count a frame of speech.

        Parameters
        ----------
        power:
            ``frame_power`` of the frame.
        clipped:
            How many of its samples clip: ``clipped_samples`` of it.
        """
        self._speech = _FRAME_KEEP * self._speech + power
        self._speech_frames += 1
        latest, floors = self._latest, self._floors
        latest.append(power)
        if len(latest) == _FLOOR_FRAMES:
            floors.append(sum(latest) / _FLOOR_FRAMES)
            if floors.length > _UNBROKEN_FRAMES:
                floors.popleft()
                self._noise = _FRAME_KEEP * self._noise + floors.minimum
                self._noise_frames += 1
        self._clipped.append(clipped)
        self._clipped_samples += clipped
        if len(self._clipped) > _CLIPPING_FRAMES:
            self._clipped_samples -= self._clipped.popleft()

    def add_noise(self, power: float) -> None:
        """Count a frame in which nobody speaks."""
        self._noise = _FRAME_KEEP * self._noise + power
        self._noise_frames += 1
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
        return (
            self._speech_frames,
            self._speech,
            self._noise_frames,
            self._noise,
            self._clipped_samples,
            len(self._clipped),
        )


Moment = tuple[int, float, int, float, int, int]
"""A meter at one moment: frames and weighted power of speech, the same of the rest, and the clipped
samples among those of so many frames, the last second. Taken for every frame, where only some are
asked for their levels, so nothing is worked out yet."""


def levels_at(moment: Moment) -> Levels:
    """The levels at a ``moment`` of a meter."""
    speech_frames, speech, noise_frames, noise, clipped, clipping_frames = moment
    speech_power = speech / _weight(speech_frames) if speech_frames else 0.0
    noise_power = noise / _weight(noise_frames) if noise_frames else 0.0
    is_known = speech_frames >= _MIN_HEARD_FRAMES and noise_frames >= _MIN_HEARD_FRAMES
    return Levels(
        _snr_db(speech_power, noise_power) if is_known else None,
        power_dbfs(speech_power) if speech_frames else None,
        power_dbfs(noise_power) if noise_frames else None,
        clipped / (clipping_frames * FRAME_SAMPLES or 1),
    )


def _weight(frames: int) -> float:
    """What ``frames`` weigh together: a frame that is t seconds old exp(-t / TIME_CONSTANT_S)."""
    return math.expm1(-frames * _FRAME_DECAY) / math.expm1(-_FRAME_DECAY)


def frame_power(frame: NDArray[np.float32]) -> float:
    """Mean square of a frame, float32 of shape (samples,), not empty, after its mean is removed,
    so that DC has none.
    """
    return energy_and_power(frame)[1]


def energy_and_power(frame: NDArray[np.float32]) -> tuple[float, float]:
    """Sum of the squares of a frame, and its `frame_power`."""
    samples = len(frame)
    energy = float(frame.dot(frame))
    mean = float(frame.dot(_ones(samples))) / samples
    offset = mean * mean
    mean_square = energy / samples
    if offset <= _SMALL_OFFSET * mean_square:
        return energy, mean_square - offset
    # The difference of two numbers that are nearly the same would be rounding, and no power.
    centered = frame - np.float32(mean)
    return energy, float(centered.dot(centered)) / samples


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


class _SlidingMinimum:
    """The least of a queue of values, without looking at all of them.

    A value that is followed by a smaller one can never be the least again, so of those that may
    yet be, kept in order, the first is the least (the ascending minima of R. Harter, 2001).
    """

    __slots__ = ("_appended", "_candidates", "length")

    def __init__(self) -> None:
        self._candidates: collections.deque[tuple[float, int]] = collections.deque()
        self._appended = self.length = 0

    def clear(self) -> None:
        self._candidates.clear()
        self._appended = self.length = 0

    def append(self, value: float) -> None:
        candidates = self._candidates
        while candidates and candidates[-1][0] >= value:
            candidates.pop()
        candidates.append((value, self._appended))
        self._appended += 1
        self.length += 1

    def popleft(self) -> None:
        if self._candidates[0][1] == self._appended - self.length:
            self._candidates.popleft()
        self.length -= 1

    @property
    def minimum(self) -> float:
        return self._candidates[0][0]
