"""How loud the speech is, how loud the rest, and whether it clips.

Powers are of the signal without its mean, relative to a full scale of 1.0, so that a square
wave between -1 and 1 is 0 dBFS.
"""

from __future__ import annotations

import collections
import dataclasses
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
_CLIPPING_WINDOW_S = 1.0
_SILENCE_POWER = 1e-12


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

    def __init__(self) -> None:
        self._speech = _RunningMean()
        self._noise = _RunningMean()
        self._clipped: collections.deque[tuple[int, int]] = collections.deque()
        self._window_samples = 0
        self._latest: collections.deque[float] = collections.deque(maxlen=_FLOOR_FRAMES)
        self._floors: collections.deque[tuple[float, int]] = collections.deque()
        self._unbroken_samples = 0

    def add_speech(self, frame: NDArray[np.float32], power: float) -> None:
        """Count a frame of speech.

        Parameters
        ----------
        frame:
            float32, shape (samples,), 16 kHz, in [-1, 1].
        power:
            ``frame_power(frame)``, which the caller has already.
        """
        self._speech.add(power, len(frame))
        self._add_floor(power, len(frame))
        clipped = int(np.count_nonzero(np.abs(frame) >= CLIPPED_FROM))
        self._clipped.append((clipped, len(frame)))
        self._window_samples += len(frame)
        while self._window_samples > _CLIPPING_WINDOW_S * SAMPLE_RATE and len(self._clipped) > 1:
            self._window_samples -= self._clipped.popleft()[1]

    def add_noise(self, power: float, samples: int) -> None:
        """Count a frame of ``samples`` samples at 16 kHz in which nobody speaks."""
        self._noise.add(power, samples)
        self._latest.clear()
        self._floors.clear()
        self._unbroken_samples = 0

    @property
    def snr_db(self) -> float | None:
        """10 log10((P_speech - P_noise) / P_noise), in [-10, 60]; ``None`` while not known.

        Speech frames hold the noise too, so its power is subtracted from theirs.
        """
        if min(self._speech.seconds, self._noise.seconds) < MIN_HEARD_S:
            return None
        noise = max(self._noise.mean, _SILENCE_POWER)
        speech = max(self._speech.mean - noise, _SILENCE_POWER)
        return min(max(10 * math.log10(speech / noise), MIN_SNR_DB), MAX_SNR_DB)

    @property
    def levels(self) -> Levels:
        """The levels now."""
        clipped = sum(count for count, _ in self._clipped)
        return Levels(
            snr_db=self.snr_db,
            speech_dbfs=self._speech.dbfs,
            noise_dbfs=self._noise.dbfs,
            clipped_fraction=clipped / max(self._window_samples, 1),
        )

    def _add_floor(self, power: float, samples: int) -> None:
        self._latest.append(power)
        if len(self._latest) == _FLOOR_FRAMES:
            self._floors.append((sum(self._latest) / _FLOOR_FRAMES, samples))
            self._unbroken_samples += samples
        if self._unbroken_samples > UNBROKEN_S * SAMPLE_RATE:
            self._unbroken_samples -= self._floors.popleft()[1]
            self._noise.add(min(floor for floor, _ in self._floors), samples)


def frame_power(frame: NDArray[np.float32]) -> float:
    """Mean square of a frame after its mean is removed, so that DC has none.

    Parameters
    ----------
    frame:
        float32, shape (samples,), not empty.
    """
    centered = frame - np.add.reduce(frame) / np.float32(len(frame))
    return float(np.dot(centered, centered)) / len(frame)


def power_dbfs(power: float) -> float:
    """A mean square in dBFS; silence is -120.

    >>> power_dbfs(0.01)
    -20.0
    """
    return 10 * math.log10(max(power, _SILENCE_POWER))


class _RunningMean:
    """A mean that forgets: a sample t seconds old weighs exp(-t / TIME_CONSTANT_S)."""

    def __init__(self) -> None:
        self.samples = 0
        self._sum = 0.0
        self._weight = 0.0

    def add(self, power: float, samples: int) -> None:
        keep = math.exp(-samples / (SAMPLE_RATE * TIME_CONSTANT_S))
        self._sum = keep * self._sum + samples * power
        self._weight = keep * self._weight + samples
        self.samples += samples

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    @property
    def mean(self) -> float:
        return self._sum / self._weight if self._weight else 0.0

    @property
    def dbfs(self) -> float | None:
        return power_dbfs(self.mean) if self.samples else None
