"""Sound files as training wants them: mono, 16 kHz, whatever they were recorded as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE
from streamsv.errors import ConfigError


def read_sound(path: Path) -> NDArray[np.float32]:
    """A whole file, its channels averaged, float32 (samples,).

    Raises ConfigError for a file that cannot be read.
    """
    try:
        pcm, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ConfigError(
            f"{path} cannot be read as sound ({error}). Convert it, or take it out of the table.",
            str(path),
        ) from error
    return _at_our_rate(pcm.mean(axis=1), rate)


def read_stretch(path: Path, start: float, samples: int) -> NDArray[np.float32]:
    """At most ``samples`` at 16 kHz from a file, which is not read as a whole.

    ``start`` in [0, 1] is where, of all places that leave ``samples`` after them, on a multiple of
    320 samples. Raises ConfigError for a file that cannot be read or holds nothing.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            wanted = -(-samples * rate // SAMPLE_RATE)
            grid = max(1, rate // 50)
            spare = max(0, file.frames - wanted) // grid
            file.seek(min(int(start * (spare + 1)), spare) * grid)
            pcm = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", str(path)) from error
    if not len(pcm):
        raise ConfigError(f"{path} holds no sound.", str(path))
    return _at_our_rate(pcm, rate)[:samples]


def _at_our_rate(pcm: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    same = rate == SAMPLE_RATE
    return np.asarray(pcm if same else soxr.resample(pcm, rate, SAMPLE_RATE), np.float32)
