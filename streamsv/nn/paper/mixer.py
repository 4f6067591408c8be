"""The SV-Mixer block: local-global, multi-scale and group channel mixing (LGM, MSM, GCM).

Heo et al. 2025, section III, in the form of the authors' release, whose LGM runs its two branches
in parallel where the paper's text puts one after the other. Inside a block the layout is channels
first, (batch, dim, frames).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class LocalGlobalMixing(nn.Module):
    """LGM: y = conv3(GELU(conv7(u))) + W2 GELU(W1 u), the convolutions a filter for each channel.

    W1 and W2 run along time and are shared by all channels: every output frame depends on every
    input frame, and the weights fit one number of frames only.
    """

    def __init__(self, dim: int, frames: int, token_hidden: int) -> None:
        super().__init__()
        self.local = nn.Sequential(
            nn.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim),
            nn.GELU(),
            nn.Conv1d(dim, dim, kernel_size=3, padding=1, groups=dim),
        )
        self.token_mlp = nn.Sequential(
            nn.Linear(frames, token_hidden), nn.GELU(), nn.Linear(token_hidden, frames)
        )

    def forward(self, u: Tensor) -> Tensor:
        """(batch, dim, frames) -> the same shape."""
        mixed: Tensor = self.local(u) + self.token_mlp(u)
        return mixed


class MultiScaleMixing(nn.Module):
    """MSM: a grouped channel MLP on every frame plus another on the means of frame pairs.

    The half-rate branch drops a last odd frame and is interpolated linearly to the full rate.
    """

    def __init__(self, dim: int, groups: int, expansion: int) -> None:
        super().__init__()
        self.halve = nn.AvgPool1d(kernel_size=2, stride=2)
        self.half_rate = self._grouped_mlp(dim, groups, expansion)
        self.full_rate = self._grouped_mlp(dim, groups, expansion)

    @staticmethod
    def _grouped_mlp(dim: int, groups: int, expansion: int) -> nn.Sequential:
        hidden = expansion * dim
        return nn.Sequential(
            nn.Conv1d(dim, hidden, kernel_size=1, groups=groups),
            nn.GELU(),
            nn.Conv1d(hidden, dim, kernel_size=1, groups=groups),
        )

    def forward(self, v: Tensor) -> Tensor:
        """(batch, dim, frames) -> the same shape."""
        coarse = self.half_rate(self.halve(v))
        coarse = F.interpolate(coarse, size=v.shape[2], mode="linear", align_corners=False)
        mixed: Tensor = coarse + self.full_rate(v)
        return mixed


class GroupChannelMixing(nn.Sequential):
    """GCM: a grouped convolution over three frames, GELU, then a dense mix of all channels.

    (batch, dim, frames) -> the same shape.
    """

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__(
            nn.Conv1d(dim, dim, kernel_size=3, padding=1, groups=groups),
            nn.GELU(),
            nn.Conv1d(dim, dim, kernel_size=1),
        )


class SVMixerBlock(nn.Module):
    """x <- x + Drop(LGM(LN x)), then x <- x + Drop(GCM(MSM(LN x))).

    At 149 frames, dim 1024 and 8 groups 3,745,969 parameters and 0.63 GMAC, as in Table I.
    ``channel_dropout`` is apart because the release sets it to 0 in the last block.
    """

    def __init__(
        self,
        dim: int = 1024,
        frames: int = 149,
        groups: int = 8,
        token_hidden: int = 596,
        expansion: int = 4,
        token_dropout: float = 0.1,
        channel_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(dim)
        self.local_global = LocalGlobalMixing(dim, frames, token_hidden)
        self.token_dropout = nn.Dropout(token_dropout)
        self.channel_norm = nn.LayerNorm(dim)
        self.multi_scale = MultiScaleMixing(dim, groups, expansion)
        self.group_channel = GroupChannelMixing(dim, groups)
        self.channel_dropout = nn.Dropout(channel_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, dim) -> the same shape."""
        u = self.token_norm(x).transpose(1, 2)
        x = x + self.token_dropout(self.local_global(u)).transpose(1, 2)
        v = self.channel_norm(x).transpose(1, 2)
        y: Tensor = self.channel_dropout(self.group_channel(self.multi_scale(v)))
        return x + y.transpose(1, 2)
