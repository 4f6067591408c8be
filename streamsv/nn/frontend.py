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
from torch.nn import functional as F

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
_QUARTER = _FFT // 4
_PARITIES = (0, 1)


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


def folded_times() -> Tensor:
    """The distances (200,) from the middle of a frame, in samples, as :class:`LogMel` orders them.

    127.5, 126.5 ... 0.5, and then those that a second fold lays upon the first 72 of these:
    128.5, 129.5 ... 199.5, each 256 less its partner.
    """
    near = torch.arange(_QUARTER).flip(0).double() + 0.5
    far = torch.arange(_QUARTER, _WINDOW // 2).double() + 0.5
    return torch.cat([near, far])


class LogMel(Streaming):
    """Log-mel energies every 10 ms (25 ms windows), less their mean so far.

    PCM (batch, samples, 1), samples a multiple of 160, to (batch, samples / 160, mels). The
    mean subtracted is over all frames so far, seeded with ``norm_prior_s`` seconds of the
    training mean: gain and channel drop out as evidence comes in, with no look at the future.
    """

    stride = _SHIFT
    receptive_field = None

    window: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        times = folded_times()
        self.floor = config.log_floor
        self.prior_frames = config.norm_prior_s * SAMPLE_RATE / _SHIFT
        hann = 0.5 + 0.5 * torch.cos(2 * math.pi / _WINDOW * times)
        self.register_buffer("window", hann.float(), persistent=False)
        mel = mel_filters(config.mels)
        for parity in _PARITIES:
            bins = parity + 2 * torch.arange((len(mel) + 1 - parity) // 2)
            bins = bins[mel[bins].sum(dim=1) > 0]
            angle = 2 * math.pi / _FFT * times[:_QUARTER, None] * bins.double()
            self._keep("cosine", parity, torch.cos(angle))
            self._keep("sine", parity, torch.sin(angle))
            self._keep("mel", parity, mel[bins])
        self.register_buffer("mean", torch.zeros(config.mels))
        self.register_buffer("scale", torch.ones(config.mels))

    def _keep(self, name: str, parity: int, matrix: Tensor) -> None:
        self.register_buffer(f"{name}{parity}", matrix.float(), persistent=False)

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

        The spectrum is that of the windowed frame less its mean, 512 points, with time measured
        from the middle of the frame; the phase that this shifts does not touch the power. Then
        cosines are even and sines odd, so f(t) + f(-t) and f(-t) - f(t) for 200 times t will do.
        And with 256 - t in place of t a cosine changes its sign in odd bins and a sine in even
        ones, so 72 of the times are folded onto 72 others: together a third of the multiply-adds
        of a plain product.
        """
        before, after = self._halves(samples)
        even = before + after
        even = (even - even.mean(dim=2, keepdim=True)) * self.window
        cosines = _folded_again(even)
        sines = _folded_again((before - after) * self.window)
        power = []
        for parity in _PARITIES:
            real = torch.matmul(cosines[parity], getattr(self, f"cosine{parity}"))
            imaginary = torch.matmul(sines[1 - parity], getattr(self, f"sine{parity}"))
            bins = real * real + imaginary * imaginary
            power.append(torch.matmul(bins, getattr(self, f"mel{parity}")))
        return torch.log(power[0] + power[1] + self.floor)

    @staticmethod
    def _halves(samples: Tensor) -> tuple[Tensor, Tensor]:
        """What is before and after the middle of each frame: two of (batch, n, 200).

        A frame is the later half of one shift, the whole of the next and that of the one after, so
        its middle lies within the second. Both halves are in the order of :func:`folded_times`.
        """
        shifts = samples.reshape(-1, samples.shape[1] // _SHIFT, _SHIFT)
        first, second, third = shifts[:, :-2], shifts[:, 1:-1], shifts[:, 2:]
        back = shifts.flip(2)
        first_back, second_back, third_back = back[:, :-2], back[:, 1:-1], back[:, 2:]
        middle = _WINDOW // 2 - _SHIFT // 2
        in_first, in_third = _QUARTER - middle, _QUARTER - (_SHIFT - middle)
        before = [
            first[:, :, _SHIFT - in_first :],
            second[:, :, :middle],
            first_back[:, :, in_first : _SHIFT // 2],
        ]
        after = [
            third_back[:, :, _SHIFT - in_third :],
            second_back[:, :, : _SHIFT - middle],
            third[:, :, in_third:],
        ]
        return torch.cat(before, dim=2), torch.cat(after, dim=2)

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


def _folded_again(halves: Tensor) -> tuple[Tensor, Tensor]:
    """The far times laid upon the near ones, added and subtracted: two of (batch, n, 128)."""
    near, far = halves[:, :, :_QUARTER], halves[:, :, _QUARTER:]
    far = F.pad(far, (0, _QUARTER - far.shape[2]))
    return near + far, near - far


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
        return F.gelu(self.norm(y)), named("conv", conv)


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
