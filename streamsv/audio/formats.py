"""What the bytes of a stream mean, and how they become samples.

The four encodings are those that telephone platforms and browsers send: 16-bit and 32-bit float
PCM, little-endian, and the two companded ones of ITU-T G.711.
"""

from __future__ import annotations

import dataclasses
import enum
import operator

import numpy as np
from numpy.typing import NDArray

from streamsv.errors import UnsupportedAudio

SAMPLE_RATE = 16_000
"""Samples a second of everything after the resampler."""

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 48_000
MAX_CHANNELS = 8

Chunk = bytes | bytearray | memoryview
"""What a caller pushes: encoded samples. A memoryview is one of single bytes."""

_MISSCALED_ABOVE = 8.0
_S16LE = np.dtype("<i2")
_S16_STEP = np.float32(1 / 32_768)


class Encoding(enum.StrEnum):
    """How one sample is written in bytes."""

    S16LE = "s16le"
    F32LE = "f32le"
    MULAW = "mulaw"
    ALAW = "alaw"


_SAMPLE_BYTES = {Encoding.S16LE: 2, Encoding.F32LE: 4, Encoding.MULAW: 1, Encoding.ALAW: 1}


@dataclasses.dataclass(frozen=True, slots=True)
class AudioFormat:
    """The format of a stream of audio bytes, checked when it is made.

    Parameters
    ----------
    encoding:
        One of ``Encoding``, or its name; an ``Encoding`` afterwards.
    sample_rate:
        Samples a second in each channel, any integer from 8000 to 48000.
    channels:
        Interleaved channels, 1 to 8; more than one is averaged to mono when decoded.

    Raises
    ------
    UnsupportedAudio
        If one of the three is outside what is listed here.

    >>> AudioFormat("mulaw", 8000).channel
    'telephone'
    """

    encoding: str = Encoding.S16LE
    sample_rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        try:
            encoding = Encoding(self.encoding)
        except ValueError as error:
            raise UnsupportedAudio(
                f"The encoding {self.encoding!r} is not known. Send one of: {', '.join(Encoding)}.",
                self.encoding,
            ) from error
        rate = _whole_number("sample rate", self.sample_rate)
        if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            raise UnsupportedAudio(
                f"A sample rate of {rate} Hz is not supported. "
                f"Send {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz.",
                rate,
            )
        channels = _whole_number("number of channels", self.channels)
        if not 1 <= channels <= MAX_CHANNELS:
            raise UnsupportedAudio(
                f"{channels} channels are not supported. Send 1 to {MAX_CHANNELS}.", channels
            )
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "sample_rate", rate)
        object.__setattr__(self, "channels", channels)

    @property
    def channel(self) -> str:
        """``telephone`` for up to 8 kHz or G.711, else ``wideband``: which calibration applies."""
        companded = self.encoding in (Encoding.MULAW, Encoding.ALAW)
        return "telephone" if companded or self.sample_rate <= 8_000 else "wideband"

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one sample in every channel."""
        return _SAMPLE_BYTES[Encoding(self.encoding)] * self.channels


class Decoder:
    """Bytes of one stream to mono samples, whatever the cuts between chunks.

    Parameters
    ----------
    format:
        What the bytes mean.

    Attributes
    ----------
    is_plain_s16le:
        Whether the bytes are what a detector takes that wants 16-bit samples, one channel.
    """

    __slots__ = ("_bytes_per_frame", "_encoding", "_tail", "format", "is_plain_s16le")

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self._encoding = Encoding(format.encoding)
        self.is_plain_s16le = self._encoding is Encoding.S16LE and format.channels == 1
        self._bytes_per_frame = format.bytes_per_frame
        self._tail = b""

    @property
    def is_any_byte_audio(self) -> bool:
        """Whether no bytes can be refused: every one of this format's samples has a value."""
        return self._encoding is not Encoding.F32LE

    @property
    def pending_bytes(self) -> int:
        """Bytes held back because the rest of their sample has not come yet."""
        return len(self._tail)

    def decode(self, chunk: Chunk) -> NDArray[np.float32]:
        """The samples that ``chunk`` completes.

        Parameters
        ----------
        chunk:
            Any number of bytes; a sample may be cut in two.

        Returns
        -------
        float32, shape (samples,), at the format's sample rate, in [-1, 1]; channels averaged.

        Raises
        ------
        UnsupportedAudio
            For what is not bytes, such as an array, and for ``f32le`` that is not finite or far
            outside [-1, 1]. The chunk is then not taken: the decoder is as it was before the call.
        """
        data = bytes_of(chunk)
        if self._tail:
            data = self._tail + data
        rest = len(data) % self._bytes_per_frame
        whole = len(data) - rest
        samples = self._samples(data[:whole] if rest else data)
        self._tail = data[whole:]
        if self.format.channels == 1:
            return samples
        frames = samples.reshape(-1, self.format.channels)
        return np.asarray(frames.mean(axis=1), dtype=np.float32)

    def reset(self) -> None:
        """Forget a held partial sample: the next byte starts a new one."""
        self._tail = b""

    def _samples(self, data: bytes) -> NDArray[np.float32]:
        match self._encoding:
            case Encoding.S16LE:
                samples = np.frombuffer(data, _S16LE).astype(np.float32)
                samples *= _S16_STEP
                return samples
            case Encoding.F32LE:
                return within_full_scale(np.frombuffer(data, "<f4").astype(np.float32))
            case Encoding.MULAW:
                return _MULAW_TO_PCM.take(np.frombuffer(data, np.uint8))
            case Encoding.ALAW:
                return _ALAW_TO_PCM.take(np.frombuffer(data, np.uint8))


def within_full_scale(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float samples that came from outside, limited to [-1, 1].

    A decoder of lossy audio overshoots full scale by a little, which is clipped; samples in
    16-bit integer scale are a mistake of the sender, which is refused.

    Parameters
    ----------
    pcm:
        float32, any shape.

    Returns
    -------
    float32, the same shape, in [-1, 1].

    Raises
    ------
    UnsupportedAudio
        For NaN, infinity, or a magnitude above 8.
    """
    if pcm.size == 0:
        return pcm
    peak = float(np.max(np.abs(pcm)))
    if not np.isfinite(peak):
        raise UnsupportedAudio(
            "The float audio has samples that are NaN or infinite. Send finite samples in [-1, 1].",
            peak,
        )
    if peak > _MISSCALED_ABOVE:
        raise UnsupportedAudio(
            f"The float audio has a sample of magnitude {peak:g}. "
            "Scale samples to [-1, 1], for instance by dividing 16-bit integers by 32768.",
            peak,
        )
    return np.clip(pcm, -1.0, 1.0) if peak > 1.0 else pcm


def encode_s16le(pcm: NDArray[np.float32]) -> bytes:
    """Samples as 16-bit little-endian PCM, rounded and clipped to full scale.

    Parameters
    ----------
    pcm:
        float32, shape (samples,), in [-1, 1].

    Raises
    ------
    UnsupportedAudio
        If a sample is NaN or infinite.
    """
    return _to_int16(pcm).astype("<i2").tobytes()


def encode_mulaw(pcm: NDArray[np.float32]) -> bytes:
    """Samples as G.711 mu-law, one byte each.

    The segment search of ITU-T G.711 (1988), table 2: 14-bit magnitudes are biased by 33, so
    that segment s begins at 2^(s+5); three bits name the segment, four the step in it, and all
    bits are sent inverted.

    Parameters
    ----------
    pcm:
        float32, shape (samples,), in [-1, 1].

    Raises
    ------
    UnsupportedAudio
        If a sample is NaN or infinite.
    """
    linear = _to_int16(pcm) >> 2
    magnitude = np.minimum(np.abs(linear), 8_159 - 33) + 33
    segment = np.frexp(magnitude.astype(np.float32))[1] - 6
    step = (magnitude >> (segment + 1)) & 0x0F
    sign = np.where(linear < 0, 0x80, 0x00)
    return bytes(((sign | (segment << 4) | step) ^ 0xFF).astype(np.uint8))


def encode_alaw(pcm: NDArray[np.float32]) -> bytes:
    """Samples as G.711 A-law, one byte each.

    The segment search of ITU-T G.711 (1988), table 1: 13-bit magnitudes, of which segments 0
    and 1 share one step size; even bits are sent inverted.

    Parameters
    ----------
    pcm:
        float32, shape (samples,), in [-1, 1].

    Raises
    ------
    UnsupportedAudio
        If a sample is NaN or infinite.
    """
    linear = _to_int16(pcm) >> 3
    magnitude = np.where(linear < 0, -linear - 1, linear)
    segment = np.maximum(np.frexp(magnitude.astype(np.float32))[1] - 5, 0)
    step = (magnitude >> np.maximum(segment, 1)) & 0x0F
    sign = np.where(linear < 0, 0x00, 0x80)
    return bytes(((sign | (segment << 4) | step) ^ 0x55).astype(np.uint8))


def _to_int16(pcm: NDArray[np.float32]) -> NDArray[np.int32]:
    pcm = np.asarray(pcm, dtype=np.float32)
    if not np.isfinite(pcm).all():
        raise UnsupportedAudio(
            "Samples that are NaN or infinite cannot be encoded. Pass finite samples in [-1, 1]."
        )
    scaled = np.rint(pcm * np.float32(32_768))
    linear: NDArray[np.int32] = np.clip(scaled, -32_768, 32_767).astype(np.int32)
    return linear


def _mulaw_table() -> NDArray[np.float32]:
    """What each mu-law byte stands for: (2 step + 33) 2^segment - 33 in 14 bits (G.711, table 2).

    Full scale is 8031 of 8192, 32124 of 32768.
    """
    code = np.arange(256) ^ 0xFF
    segment, step = (code >> 4) & 0x07, code & 0x0F
    magnitude = ((2 * step + 33) << segment) - 33
    signed = np.where(code & 0x80, -magnitude, magnitude)
    return np.asarray(signed / 8_192, dtype=np.float32)


def _alaw_table() -> NDArray[np.float32]:
    """What each A-law byte stands for: (2 step + 1 + 32 [s > 0]) 2^max(s - 1, 0) in 13 bits.

    From ITU-T G.711 (1988), table 1. Full scale is 4032 of 4096, 32256 of 32768.
    """
    code = np.arange(256) ^ 0x55
    segment, step = (code >> 4) & 0x07, code & 0x0F
    magnitude = (2 * step + 1 + np.where(segment > 0, 32, 0)) << np.maximum(segment - 1, 0)
    signed = np.where(code & 0x80, magnitude, -magnitude)
    return np.asarray(signed / 4_096, dtype=np.float32)


def bytes_of(chunk: Chunk) -> bytes:
    """The bytes of a chunk.

    Raises UnsupportedAudio for an array: its own bytes are seldom those declared.
    """
    if type(chunk) is bytes:
        return chunk
    if isinstance(chunk, memoryview):
        if chunk.itemsize == 1:
            return chunk.tobytes()
        given = f"a memoryview of {chunk.itemsize}-byte items"
        raise _not_bytes(given, "Pass `.cast('B')` if its items are encoded as declared.")
    if isinstance(chunk, bytes | bytearray):
        return bytes(chunk)
    if not isinstance(chunk, np.ndarray):
        article = "an" if type(chunk).__name__[0] in "aeiou" else "a"
        given = f"{article} {type(chunk).__name__}"
        raise _not_bytes(given, "Pass the bytes of samples, encoded as the AudioFormat declares.")
    kind = chunk.dtype.kind
    if kind == "f":
        advice = "Pass `.astype('<f4').tobytes()` and declare AudioFormat('f32le', rate)."
    elif kind == "i" and chunk.dtype.itemsize == 2:
        advice = "Pass `.astype('<i2').tobytes()` and declare AudioFormat('s16le', rate)."
    else:
        advice = "Pass `.tobytes()` if its values are encoded as the AudioFormat declares."
    raise _not_bytes(f"an array of {chunk.dtype}", advice)


def _not_bytes(given: str, advice: str) -> UnsupportedAudio:
    return UnsupportedAudio(f"push takes bytes and was given {given}. {advice}", given)


def _whole_number(what: str, value: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError("a truth value is not a number")
        return operator.index(value)
    except TypeError as error:
        raise UnsupportedAudio(
            f"The {what} is {value!r}, which is not a whole number.", value
        ) from error


_MULAW_TO_PCM = _mulaw_table()
_ALAW_TO_PCM = _alaw_table()
