"""What a telephone call does to a voice besides its band: codecs, gain control, lost packets.

Each works on batches (batch, samples), 16 kHz, in [-1, 1]; every choice is drawn from the
generator that the caller passes.
"""

from __future__ import annotations

import io
import math

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from streamsv.audio import AudioFormat, Decoder, encode_alaw, encode_mulaw
from streamsv.errors import ConfigError

RATE, LINE_RATE = 16_000, 8_000
CODECS = {"gsm": "GSM610", "adpcm": "G721_32"}
"""GSM 06.10 full rate (13 kbit/s) and G.721 (32 kbit/s), as libsndfile has them."""

_PACKET = RATE // 50
_BLOCK = RATE // 100


def fast_size(least: int) -> int:
    """The smallest 2^a 3^b 5^c at or above ``least``: a length that Fourier transforms like."""
    best = 1 << (least - 1).bit_length()
    for fives in (1, 5, 25, 125):
        for threes in (1, 3, 9, 27, 81):
            factor = fives * threes
            best = min(best, factor << max(0, (-(-least // factor) - 1).bit_length()))
    return best


def g711(x: Tensor, generator: np.random.Generator) -> Tensor:
    """What is left of each row of ``x`` (batch, samples) after 8 bits of ITU-T G.711 at 8 kHz, by
    mu-law or A-law as is drawn: nothing above 4 kHz.
    """
    batch, samples = x.shape
    if not batch:
        return x
    size = 4 * fast_size(-(-samples // 4))
    inside = torch.fft.rfft(x, size)[:, : size // 4]
    line = torch.fft.irfft(inside, size // 2)[:, : -(-samples // 2)] / 2
    is_alaw = generator.random(batch) < 0.5
    heard = np.empty(line.shape, np.float32)
    for rows, law, encode in ((is_alaw, "alaw", encode_alaw), (~is_alaw, "mulaw", encode_mulaw)):
        decoder = Decoder(AudioFormat(law, LINE_RATE))
        heard[rows] = decoder.decode(encode(line.numpy()[rows].ravel())).reshape(-1, line.shape[1])
    inside = torch.fft.rfft(torch.from_numpy(heard), size // 2)[:, : size // 4]
    back: Tensor = torch.fft.irfft(inside, size)[:, :samples]
    return 2 * back


def round_trip(x: Tensor, codec: str) -> Tensor:
    """What is left of ``x`` (samples,) after a codec of :data:`CODECS` at 8 kHz.

    Raises ConfigError for a codec that this build of libsndfile has not.
    """
    subtype = CODECS[codec]
    if subtype not in soundfile.available_subtypes("WAV"):
        raise ConfigError(f"This libsndfile has no {subtype}; set augment.{codec} to 0.", subtype)
    line = soxr.resample(x.numpy(), RATE, LINE_RATE)
    file = io.BytesIO()
    soundfile.write(file, line, LINE_RATE, subtype=subtype, format="WAV")
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    heard = np.zeros(len(line), np.float32)
    heard[: len(decoded)] = decoded[: len(heard)]
    back = soxr.resample(heard, LINE_RATE, RATE)
    return torch.from_numpy(np.resize(back, len(x)).astype(np.float32))


def automatic_gain(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Gain control as telephones have it: fast down, slow up, at most 20 dB either way.

    The gain of each 10 ms follows target / level, by a one-pole filter whose time constant is
    drawn from 5 to 50 ms where the gain falls and from 0.2 to 2 s where it rises.
    """
    batch, samples = x.shape
    blocks = -(-samples // _BLOCK)
    padded = torch.nn.functional.pad(x, (0, blocks * _BLOCK - samples))
    level = padded.reshape(batch, blocks, _BLOCK).square().mean(dim=2).sqrt()
    whole = x.square().mean(dim=1, keepdim=True).sqrt()
    decibels = 20 * torch.log10((whole / (level + 0.05 * whole + 1e-9)).clamp(0.1, 10.0))
    fall = math.exp(-0.01 / generator.uniform(0.005, 0.05))
    rise = math.exp(-0.01 / generator.uniform(0.2, 2.0))
    gains = torch.empty_like(decibels)
    gain = decibels[:, 0]
    for block in range(blocks):
        wanted = decibels[:, block]
        keep = torch.where(wanted < gain, fall, rise)
        gain = keep * gain + (1 - keep) * wanted
        gains[:, block] = gain
    smooth = torch.nn.functional.interpolate(
        gains[:, None], blocks * _BLOCK, mode="linear", align_corners=False
    )[:, 0, :samples]
    return x * torch.pow(10.0, smooth / 20.0)


def lose_packets(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Drop packets of 20 ms of ``x`` (samples,), in bursts, and conceal them as a phone does.

    Gilbert's model: 1 to 10 % of packets are lost, in bursts of 1 to 4 on average. A lost packet
    repeats the one before at half its level, so a long burst fades out.
    """
    share, burst = generator.uniform(0.01, 0.10), generator.uniform(1.0, 4.0)
    stay = 1.0 - 1.0 / burst
    enter = share * (1.0 - stay) / (1.0 - share)
    y = x.clone()
    is_lost = False
    for start in range(_PACKET, len(x) - _PACKET + 1, _PACKET):
        is_lost = generator.random() < (stay if is_lost else enter)
        if is_lost:
            y[start : start + _PACKET] = 0.5 * y[start - _PACKET : start]
    return y
