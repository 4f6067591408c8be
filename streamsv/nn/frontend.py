"""From waveform to frames of 20 ms, causally: a log-mel front end and the waveform CNN of WavLM.

Both take 16 kHz PCM as (batch, samples, 1), left-padded with zeros by their fresh state, and
give n frames for every 320 n samples; frame i sees no sample at or after 320 (i + 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from streamsv.nn.config import ModelConfig
from streamsv.nn.convolution import StridedConv
from streamsv.nn.memory import running_mean
from streamsv.nn.streaming import Composite, State, Streaming, named, part

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 320
_WINDOW = 400
_SHIFT = 160
_LEFT = 320
_FFT = 512


def mel_filters(bands: int, bins: int = _FFT // 2 + 1) -> Tensor:
    """Triangular filters (bins, bands) from 20 Hz to 7600 Hz, equally spaced in mel.

    mel(f) = 1127 ln(1 + f / 700), as in Kaldi and HTK.
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    edges = torch.linspace(
        float(mel(torch.tensor(20.0))), float(mel(torch.tensor(7600.0))), bands + 2
    ).double()
    centers = mel(torch.arange(bins).double() * SAMPLE_RATE / _FFT)[:, None]
    rising = (centers - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - centers) / (edges[2:] - edges[1:-1])
    return torch.clamp(torch.minimum(rising, falling), min=0.0).float()


def folded_fourier_matrices() -> tuple[Tensor, Tensor]:
    """Cosine and sine matrices (200, 257) that give a windowed 512-point spectrum of 400 samples.

    With time measured from the middle of the frame the cosines are even and the sines odd, so a
    frame is folded first, f[n] + f[399 - n] and f[n] - f[399 - n], which halves the product; the
    phase this shifts does not touch the power. The removal of the frame's mean and the Hann
    window are linear and folded into the matrices.
    """
    n = torch.arange(_WINDOW // 2).double()
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * (n + 0.5) / _WINDOW)
    angle = 2 * math.pi / _FFT * (n - (_WINDOW - 1) / 2)[:, None] * torch.arange(257).double()
    cosine = window[:, None] * torch.cos(angle)
    sine = window[:, None] * torch.sin(angle)
    cosine = cosine - cosine.mean(dim=0, keepdim=True)
    return cosine.float(), sine.float()


class LogMel(Streaming):
    """Log-mel energies every 10 ms (25 ms windows), less their mean so far.

    PCM (batch, samples, 1), samples a multiple of 160, to (batch, samples / 160, mels). The
    mean subtracted is over all frames so far, seeded with ``norm_prior_s`` seconds of the
    training mean: gain and channel drop out as evidence comes in, with no look at the future.
    """

    stride = _SHIFT
    receptive_field = None

    mel: Tensor
    cosine: Tensor
    sine: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        cosine, sine = folded_fourier_matrices()
        self.floor = config.log_floor
        self.prior_frames = config.norm_prior_s * SAMPLE_RATE / _SHIFT
        mel = mel_filters(config.mels)
        heard = mel.sum(dim=1) > 0
        self.register_buffer("cosine", cosine[:, heard].contiguous(), persistent=False)
        self.register_buffer("sine", sine[:, heard].contiguous(), persistent=False)
        self.register_buffer("mel", mel[heard].contiguous(), persistent=False)
        self.register_buffer("mean", torch.zeros(config.mels))
        self.register_buffer("scale", torch.ones(config.mels))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set the training mean (mels,) that seeds the running mean, and the spread (mels,)."""
        self.mean.copy_(mean)
        self.scale.copy_(1.0 / std)

    def init_state(self, batch: int) -> State:
        """``left`` (batch, 320) samples, ``mean`` (batch, 1, mels), ``count`` (batch, 1, 1)."""
        return {
            "left": self.zeros(batch, _LEFT),
            "mean": self.zeros(batch, 1, self.mean.shape[0]) + self.mean,
            "count": self.zeros(batch, 1, 1) + self.prior_frames,
        }

    def log_energies(self, samples: Tensor) -> Tensor:
        """(batch, 320 + 160 n) samples -> (batch, n, mels), not normalized.

        A window is the second half of one shift, the whole of the next and that of the one
        after; it is put together already folded, its later half read backwards.
        """
        shifts = samples.reshape(-1, samples.shape[1] // _SHIFT, _SHIFT)
        backwards = shifts.flip(2)
        half, rest = _SHIFT // 2, _WINDOW // 2 - _SHIFT // 2
        early = torch.cat([shifts[:, :-2, half:], shifts[:, 1:-1, :rest]], dim=2)
        late = torch.cat([backwards[:, 2:], backwards[:, 1:-1, : _SHIFT - rest]], dim=2)
        real = torch.matmul(early + late, self.cosine)
        imaginary = torch.matmul(early - late, self.sine)
        power = torch.matmul(real * real + imaginary * imaginary, self.mel)
        return torch.log(power + self.floor)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, samples, 1) -> (batch, samples / 160, mels)."""
        with torch.autocast(x.device.type, enabled=False):
            samples = torch.cat([state["left"], x.squeeze(2).float()], dim=1)
            energies = self.log_energies(samples)
            means, count = running_mean(energies, state["mean"], state["count"])
            following = {
                "left": samples[:, -_LEFT:],
                "mean": means[:, -1:],
                "count": count,
            }
            return (energies - means) * self.scale, following


class LogMelFrontEnd(Composite):
    """Log-mel frames, joined in overlapping fours to 50 a second and projected to ``dim``."""

    stride = FRAME_SAMPLES
    receptive_field = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.logmel = LogMel(config)
        self.subsample = StridedConv(config.mels, config.dim, kernel=4, stride=2)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, samples, 1) -> (batch, samples / 320, dim)."""
        mels, logmel = self.logmel.step(x, part(state, "logmel"))
        y, subsample = self.subsample.step(mels, part(state, "subsample"))
        return y, named("logmel", logmel) | named("subsample", subsample)


class NormedConv(Composite):
    """One layer of the waveform CNN: strided convolution, norm of each frame, GELU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = StridedConv(channels_in, channels_out, kernel, stride, bias=False)
        self.norm = nn.LayerNorm(channels_out)
        self.stride = stride
        self.receptive_field = kernel

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, channels_in) -> (batch, frames / stride, channels_out)."""
        y, conv = self.conv.step(x, part(state, "conv"))
        return nn.functional.gelu(self.norm(y)), named("conv", conv)


class WaveformFrontEnd(Composite):
    """The 7-layer CNN of wav2vec 2.0 and WavLM (kernels 10,3,3,3,3,2,2; strides 5,2,2,2,2,2,2).

    Each layer is normed frame by frame, WavLM's "layer_norm" mode, because the other mode, a
    GroupNorm over time, needs the whole clip. Then LayerNorm and a projection to ``dim``.
    """

    stride = FRAME_SAMPLES
    receptive_field = 400

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.waveform_channels
        plan = [(1, 10, 5)] + [(width, 3, 2)] * 4 + [(width, 2, 2)] * 2
        self.layers = nn.ModuleList(
            NormedConv(channels, width, kernel, stride) for channels, kernel, stride in plan
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, config.dim)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, samples, 1) -> (batch, samples / 320, dim)."""
        following: State = {}
        for index, layer in enumerate(cast("Iterable[NormedConv]", self.layers)):
            x, new = layer.step(x, part(state, f"layers.{index}"))
            following |= named(f"layers.{index}", new)
        y: Tensor = self.project(self.norm(x))
        return y, following
