"""Any sample rate to 16 kHz, as a stream.

The filtering is soxr's. What is added is that the result does not depend on how the caller cut
the stream: soxr is always fed whole blocks of one fixed length, as many as there are in one call,
which gives the same bits as one call a block; what is less than a block waits.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray

from streamsv.audio.formats import SAMPLE_RATE
from streamsv.errors import UnsupportedAudio

_LONGEST_EXACT_BLOCK = 4


class Resampler:
    """One mono stream from ``rate_in`` to ``rate_out``.

    Output sample k is the signal at source time k / ``rate_out``: soxr holds its output back
    until its filter is filled instead of delaying the signal, so there is no delay to subtract,
    only output that comes later (up to 0.1 s).

    Parameters
    ----------
    rate_in:
        Samples a second of what is pushed; any positive integer.
    rate_out:
        Samples a second of what comes out. If it is ``rate_in``, samples pass unchanged.

    Raises
    ------
    UnsupportedAudio
        If a rate is not positive.
    """

    __slots__ = ("_block", "_stream", "_tail", "rate_in", "rate_out")

    def __init__(self, rate_in: int, rate_out: int = SAMPLE_RATE) -> None:
        for rate in (rate_in, rate_out):
            if rate <= 0:
                raise UnsupportedAudio(
                    f"A sample rate of {rate} Hz is not possible. Pass a positive number.", rate
                )
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._block = block_samples(rate_in)
        self._tail = np.zeros(0, np.float32)
        self._stream = self._new_stream()

    def push(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples, give those that are ready.

        Parameters
        ----------
        pcm:
            float32, shape (samples,), at ``rate_in``, in [-1, 1].

        Returns
        -------
        float32, shape (ready,), at ``rate_out``.
        """
        if self._stream is None:
            return pcm.astype(np.float32)
        if len(self._tail) or len(pcm) % self._block:
            pcm = np.concatenate((self._tail, pcm), dtype=np.float32)
        whole = len(pcm) - len(pcm) % self._block
        self._tail = pcm[whole:].copy()
        if not whole:
            return np.zeros(0, np.float32)
        ready: NDArray[np.float32] = self._stream.resample_chunk(pcm[:whole])
        return ready

    def finish(self) -> NDArray[np.float32]:
        """The rest: the held tail and what was in the filter. The resampler then starts anew.

        Returns
        -------
        float32, shape (rest,), at ``rate_out``. In all there come
        round(samples pushed * ``rate_out`` / ``rate_in``) samples, at most one off.
        """
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest: NDArray[np.float32] = self._stream.resample_chunk(self._tail, last=True)
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget tail and filter: the next sample is the first of a new stream."""
        self._tail = np.zeros(0, np.float32)
        self._stream = self._new_stream()

    def _new_stream(self) -> soxr.ResampleStream | None:
        if self.rate_in == self.rate_out:
            return None
        return soxr.ResampleStream(
            self.rate_in, self.rate_out, num_channels=1, dtype="float32", quality="HQ"
        )


def block_samples(rate: int) -> int:
    """The fixed block in which a rate is resampled, in samples.

    The smallest multiple of 10 ms that is a whole number of samples: 10 ms for 8, 16, 44.1 and
    48 kHz, 20 ms for 22.05 and 40 ms for 11.025 kHz. For a rate where that would be more than
    40 ms, 10 ms rounded up to a whole sample.

    >>> block_samples(8000), block_samples(22050), block_samples(12345)
    (80, 441, 124)
    """
    multiples_of_10_ms = 100 // math.gcd(rate, 100)
    if multiples_of_10_ms <= _LONGEST_EXACT_BLOCK:
        return rate * multiples_of_10_ms // 100
    return -(-rate // 100)
