"""Waveform to frames: seven convolutions and a projection, as in WavLM's "default" extractor."""

from __future__ import annotations

from torch import Tensor, nn

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)


class WaveformCNN(nn.Module):
    """Seven unpadded convolutions: one frame for 320 samples, each seeing 400 samples.

    Only the first is normalized, by a GroupNorm with as many groups as channels: each channel over
    the whole clip. So the first frame already depends on the last sample.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
            channels_in = channels if index else 1
            layers.append(nn.Conv1d(channels_in, channels, kernel, stride, bias=False))
            if index == 0:
                layers.append(nn.GroupNorm(channels, channels))
            layers.append(nn.GELU())
        self.layers = nn.Sequential(*layers)

    def forward(self, pcm: Tensor) -> Tensor:
        """(batch, samples) at 16 kHz -> (batch, frames, channels), (samples - 80) // 320 frames."""
        features: Tensor = self.layers(pcm.unsqueeze(1))
        return features.transpose(1, 2)


class FeatureProjection(nn.Module):
    """LayerNorm, linear to the encoder's width, dropout. There is no positional encoding."""

    def __init__(self, channels: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, channels) -> (batch, frames, dim)."""
        projected: Tensor = self.dropout(self.linear(self.norm(features)))
        return projected
