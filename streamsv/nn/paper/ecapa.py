"""The back end: an ECAPA-TDNN of 512 channels over the encoder's frames.

Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN" (Interspeech 2020), in the form of the SV-Mixer
release: ReLU before each BatchNorm, the SE-Res2 blocks fed with running sums, 192 dimensions.
The noise that the release adds to the normalized features in training is augmentation, and left
to the training loop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamsv.nn.paper.config import PaperConfig

VARIANCE_FLOOR = 1e-4


def _activated_conv(
    channels_in: int, channels_out: int, kernel: int, dilation: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(
            channels_in,
            channels_out,
            kernel,
            dilation=dilation,
            padding=dilation * (kernel // 2),
        ),
        nn.ReLU(),
        nn.BatchNorm1d(channels_out),
    )


class SqueezeExcitation(nn.Module):
    """Each channel scaled by a gate in (0, 1) that is computed from the clip's mean."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv1d(channels, bottleneck, kernel_size=1),
            nn.ReLU(),
            nn.Conv1d(bottleneck, channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same shape."""
        gated: Tensor = x * self.gate(x.mean(dim=2, keepdim=True))
        return gated


class SERes2Block(nn.Module):
    """Res2 convolutions between two dense ones, a squeeze-excitation gate, a residual.

    Of the ``scale`` slices of channels, slice i is convolved after the result of slice i - 1 was
    added to it; the last passes unchanged (Gao et al., Res2Net, 2019).
    """

    def __init__(self, channels: int, dilation: int, scale: int, bottleneck: int) -> None:
        super().__init__()
        width = channels // scale
        self.scale = scale
        self.inward = _activated_conv(channels, channels, 1)
        self.convs = nn.ModuleList(
            _activated_conv(width, width, 3, dilation) for _ in range(scale - 1)
        )
        self.outward = _activated_conv(channels, channels, 1)
        self.excite = SqueezeExcitation(channels, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same shape."""
        *convolved, passed = self.inward(x).chunk(self.scale, dim=1)
        slices = [self.convs[0](convolved[0])]
        for conv, piece in zip(list(self.convs)[1:], convolved[1:], strict=True):
            slices.append(conv(slices[-1] + piece))
        y: Tensor = self.excite(self.outward(torch.cat([*slices, passed], dim=1)))
        return x + y


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation over time, the weights by softmax for each channel.

    Okabe et al. 2018, with the clip's own mean and standard deviation beside each frame in the
    attention's input (Desplanques et al. 2020, section 3.1).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv1d(3 * channels, hidden, kernel_size=1),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Tanh(),
            nn.Conv1d(hidden, channels, kernel_size=1),
            nn.Softmax(dim=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, 2 * channels): means, then deviations."""
        mean = x.mean(dim=2, keepdim=True).expand_as(x)
        deviation = x.var(dim=2, keepdim=True).clamp(min=VARIANCE_FLOOR).sqrt().expand_as(x)
        weights = self.attention(torch.cat([x, mean, deviation], dim=1))
        weighted_mean = (weights * x).sum(dim=2)
        variance = (weights * x.square()).sum(dim=2) - weighted_mean.square()
        return torch.cat([weighted_mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)


class EcapaTDNN(nn.Module):
    """Frames of the encoder to one embedding; 9,578,560 parameters in the paper's dimensions.

    The features are normalized over the clip's time (InstanceNorm, no parameters), so a constant
    that is added to a feature in every frame has no effect.
    """

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        channels = config.back_end_channels
        self.feature_norm = nn.InstanceNorm1d(config.dim)
        self.inward = _activated_conv(config.dim, channels, 5)
        self.blocks = nn.ModuleList(
            SERes2Block(channels, dilation, config.res2_scale, config.se_bottleneck)
            for dilation in (2, 3, 4)
        )
        self.aggregate = nn.Sequential(
            nn.Conv1d(len(self.blocks) * channels, config.pooled_channels, kernel_size=1),
            nn.ReLU(),
        )
        self.pooling = AttentiveStatistics(config.pooled_channels, config.attention_hidden)
        self.embed = nn.Sequential(
            nn.BatchNorm1d(2 * config.pooled_channels),
            nn.Linear(2 * config.pooled_channels, config.embedding),
            nn.BatchNorm1d(config.embedding),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, dim) -> embedding (batch, embedding), not length-normalized."""
        x = self.inward(self.feature_norm(frames.transpose(1, 2)))
        outputs = []
        for block in self.blocks:
            outputs.append(block(x))
            x = x + outputs[-1]
        embedding: Tensor = self.embed(self.pooling(self.aggregate(torch.cat(outputs, dim=1))))
        return embedding
