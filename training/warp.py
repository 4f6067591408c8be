"""New voices out of old ones: pitch and formants moved apart by a vocoder.

Playback speed moves the two together, which no throat does exactly; real voices differ in both.
Uses WORLD (Morise et al. 2016) by the package ``pyworld``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamsv.errors import ConfigError

RATE = 16_000
Floats = NDArray[np.float32]


def warp(pcm: Floats, pitch: float, formants: float) -> Floats:
    """Say the same with the pitch times ``pitch`` and all formants times ``formants``.

    ``pcm`` float32 (samples,), 16 kHz, in [-1, 1]; returns as many samples. Raises ConfigError
    without ``pyworld``, or for a factor outside 0.5 to 2.
    """
    if not (0.5 <= pitch <= 2.0 and 0.5 <= formants <= 2.0):
        raise ConfigError(
            f"A warp has factors from 0.5 to 2, not {pitch} and {formants}.", f"{pitch}, {formants}"
        )
    try:
        import pyworld
    except ImportError as error:
        raise ConfigError(
            f"data.warps needs the package pyworld, which cannot be imported ({error}). Its "
            "version 0.3.5 needs setuptools below 81. Leave data.warps empty to do without.",
            "pyworld",
        ) from error
    x = np.ascontiguousarray(pcm, np.float64)
    # DIO and StoneMask take 1/25 of the time of Harvest, and a cache has hours of speech.
    rough, times = pyworld.dio(x, RATE)
    f0 = pyworld.stonemask(x, rough, times, RATE)
    envelope = pyworld.cheaptrick(x, f0, times, RATE)
    aperiodicity = pyworld.d4c(x, f0, times, RATE)
    bins = np.arange(envelope.shape[1])
    source = np.minimum(bins / formants, bins[-1])
    moved = np.exp(_at(np.log(envelope), source))
    spoken = pyworld.synthesize(f0 * pitch, moved, _at(aperiodicity, source), RATE)
    level = np.sqrt(np.mean(x**2)) / (np.sqrt(np.mean(spoken**2)) + 1e-9)
    return np.clip(np.resize(spoken * level, len(pcm)), -1, 1).astype(np.float32)


def _at(rows: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row of (frames, bins), interpolated linearly at ``places`` (bins,)."""
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, rows.shape[1] - 1)
    share = places - low
    # synthesize asks for a C-ordered array of its own
    return np.ascontiguousarray(rows[:, low] * (1 - share) + rows[:, high] * share)
