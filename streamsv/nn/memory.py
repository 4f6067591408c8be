"""What a token mixer remembers of the past: a running summary, or a causal Toeplitz mixing.

Both stand in for the fixed 149-frame token MLP of the paper, which needs the whole clip.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsv.nn.products import dense
from streamsv.nn.streaming import State, Streaming

_MOST_FRAMES = 512
"""In one matrix of :func:`toeplitz`, whose size grows with their square."""


def running_mean(x: Tensor, mean: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over all frames so far, after each frame.

    ``x`` (batch, frames, features); ``mean`` (batch, 1, features) and ``count`` (batch, 1, 1)
    are the mean and the number of the frames before. Returns the means (batch, frames,
    features) and the new count. Deviations from the old mean are summed, not the values: over
    an hour a plain sum would lose the new frame in its rounding.
    """
    frames = x.shape[1]
    heard = torch.arange(1, frames + 1, device=x.device, dtype=torch.float32)
    counts = count + heard[None, :, None]
    means = mean + torch.cumsum(x.float() - mean, dim=1) / counts
    return means, counts[:, -1:]


class RunningSummary(Streaming):
    """Causal SummaryMixing (Parcollet et al., Interspeech 2024): what was heard so far, on average.

    y[t] = V mean_{s <= t} relu(U x[s]). ``prior_frames`` zero frames are counted in advance, so
    that the first frames of a stream do not swing the mean.
    """

    receptive_field = None

    def __init__(self, channels: int, summary: int, prior_frames: float = 8.0) -> None:
        super().__init__()
        self.prior_frames = prior_frames
        self.summary = summary
        self.inward = nn.Linear(channels, summary)
        self.outward = nn.Linear(summary, channels)

    def init_state(self, batch: int) -> State:
        """``mean`` (batch, 1, summary) zeros and ``count`` (batch, 1, 1), the prior frames."""
        return {
            "mean": self.zeros(batch, 1, self.summary),
            "count": self.zeros(batch, 1, 1) + self.prior_frames,
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, channels) -> the same shape."""
        means, following = self.means(x, state)
        return dense(means.to(x.dtype), self.outward.weight, self.outward.bias), following

    def means(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """What is sent outward: the mean so far at each frame, (batch, frames, summary)."""
        heard = torch.relu(dense(x, self.inward.weight, self.inward.bias))
        means, count = running_mean(heard, state["mean"], state["count"])
        return means, {"mean": means[:, -1:], "count": count}


def toeplitz(filters: Tensor, frames: int) -> Tensor:
    """The matrices of causal filters, oldest tap first: (n, length) -> (n, frames, length - 1 +
    frames), row t the filter shifted by t.

    A product with them costs up to twice the multiply-adds of a convolution, and less time.
    """
    count, length = filters.shape
    width = length - 1 + frames
    # Rows one longer than those that are wanted, end to end: each begins one to the right.
    rows = F.pad(filters, (0, frames)).repeat(1, frames)
    return rows[:, : frames * width].reshape(count, frames, width)


class ToeplitzMixing(Streaming):
    """A causal token MLP whose weights depend on the distance in time only.

    ``filters`` shared filters of ``length`` frames in, an activation, the same number out (see
    Qin et al., Toeplitz Neural Network, ICLR 2023). With 4 filters of 149 frames it costs what
    the paper's 149-596-149 token MLP costs for each frame.
    """

    def __init__(self, channels: int, length: int, filters: int) -> None:
        super().__init__()
        self.channels = channels
        self.length = length
        self.filters = filters
        self.receptive_field = 2 * length - 1
        bound = 1.0 / math.sqrt(length)
        self.inward = nn.Parameter(torch.empty(filters, 1, length).uniform_(-bound, bound))
        self.outward = nn.Parameter(torch.empty(1, filters, length).uniform_(-bound, bound))

    def init_state(self, batch: int) -> State:
        """``left`` (batch, length - 1, channels) and ``hidden`` (batch, filters, length - 1,
        channels): the inputs, and the filtered inputs, that later frames still see.
        """
        return {
            "left": self.zeros(batch, self.length - 1, self.channels),
            "hidden": self.zeros(batch, self.filters, self.length - 1, self.channels),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, channels) -> the same shape."""
        if x.shape[1] <= _MOST_FRAMES:
            return self._mix(x, state)
        mixed = []
        for part_of_x in torch.split(x, _MOST_FRAMES, dim=1):
            y, state = self._mix(part_of_x, state)
            mixed.append(y)
        return torch.cat(mixed, dim=1), state

    def _mix(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        batch, frames, channels = x.shape
        past = torch.cat([state["left"].to(x.dtype), x], dim=1)
        inward = toeplitz(self.inward[:, 0], frames).reshape(self.filters * frames, -1)
        fresh = torch.relu(torch.matmul(inward.to(x.dtype), past))
        fresh = fresh.reshape(batch, self.filters, frames, channels)
        hidden = torch.cat([state["hidden"].to(x.dtype), fresh], dim=2)
        outward = toeplitz(self.outward[0], frames).transpose(0, 1).reshape(frames, -1)
        y = torch.matmul(outward.to(x.dtype), hidden.reshape(batch, -1, channels))
        return y, {"left": past[:, frames:].float(), "hidden": hidden[:, :, frames:].float()}
