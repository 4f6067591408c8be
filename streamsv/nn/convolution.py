"""Causal convolutions over time, channels last, with their left context as state.

A convolution here is a filter for each channel (depthwise) or one matrix product over gathered
taps (dense). Both take and give the layout (batch, frames, channels), so that the exported graph
has one large product for all frames of all streams.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from streamsv.nn.products import (
    dense,
    filter_frames,
    filter_planes,
)
from streamsv.nn.streaming import State, Streaming


class DepthwiseConv(Streaming):
    """y[t] = bias + sum_k weight[k] * x[t - (kernel - 1) + k], a filter for each channel.

    ``x`` is (batch, frames, channels). The state ``left`` is the last ``kernel - 1`` frames.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.channels = channels
        self.receptive_field = kernel
        bound = 1.0 / math.sqrt(kernel)
        self.weight = nn.Parameter(torch.empty(kernel, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def init_state(self, batch: int) -> State:
        """``left``: (batch, kernel - 1, channels) zeros."""
        return {"left": self.zeros(batch, self.kernel - 1, self.channels)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, channels) -> the same shape."""
        padded = torch.cat([state["left"].to(x.dtype), x], dim=1)
        following = {"left": padded[:, x.shape[1] :].float()}
        return self.valid(padded), following

    def valid(self, padded: Tensor) -> Tensor:
        """Where the filter fits wholly: (batch, frames, channels), fewer by kernel - 1 frames."""
        return filter_frames(padded, self.weight, self.bias)

    def valid_planes(self, planes: Tensor) -> Tensor:
        """:meth:`valid` on (batch, channels, 1, frames)."""
        return filter_planes(planes, self.weight, self.bias)


class StridedConv(Streaming):
    """A dense convolution that gives one output frame for every ``stride`` input frames.

    Output frame i sees the ``kernel`` input frames that end with frame ``(i + 1) * stride - 1``.
    ``x`` is (batch, frames, channels_in), frames a multiple of the stride; the state ``left``
    is the last ``kernel - stride`` frames.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.channels_in = channels_in
        self.receptive_field = kernel
        self.linear = nn.Linear(kernel * channels_in, channels_out, bias=bias)

    def init_state(self, batch: int) -> State:
        """``left``: (batch, kernel - stride, channels_in) zeros."""
        return {"left": self.zeros(batch, self.kernel - self.stride, self.channels_in)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, channels_in) -> (batch, frames / stride, channels_out)."""
        frames = x.shape[1]
        padded = torch.cat([state["left"].to(x.dtype), x], dim=1)
        last = frames - self.stride + 1
        taps = [padded[:, k : k + last : self.stride] for k in range(self.kernel)]
        y = dense(torch.cat(taps, dim=2), self.linear.weight, self.linear.bias)
        return y, {"left": padded[:, frames:].float()}


class GroupedConv(Streaming):
    """A causal convolution whose outputs see only their own group of channels.

    With ``groups == channels`` it is a :class:`DepthwiseConv`; use that class then.
    """

    def __init__(self, channels: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.channels = channels
        self.receptive_field = kernel
        self.linear = GroupedLinear(kernel * channels, channels, groups)
        self.groups = groups

    def init_state(self, batch: int) -> State:
        """``left``: (batch, kernel - 1, channels) zeros."""
        return {"left": self.zeros(batch, self.kernel - 1, self.channels)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, channels) -> the same shape."""
        batch, frames, channels = x.shape
        padded = torch.cat([state["left"].to(x.dtype), x], dim=1)
        width = channels // self.groups
        taps = [
            padded[:, k : k + frames].reshape(batch, frames, self.groups, width)
            for k in range(self.kernel)
        ]
        joined = torch.cat(taps, dim=3).reshape(batch, frames, self.kernel * channels)
        return self.linear(joined), {"left": padded[:, frames:].float()}


class GroupedLinear(nn.Module):
    """A linear layer in ``groups`` blocks: block g maps its own inputs to its own outputs.

    One group is an ordinary dense layer. ``x`` is (batch, frames, features_in).
    """

    def __init__(self, features_in: int, features_out: int, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.features_out = features_out
        bound = 1.0 / math.sqrt(features_in // groups)
        self.weight = nn.Parameter(
            torch.empty(groups, features_in // groups, features_out // groups).uniform_(
                -bound, bound
            )
        )
        self.bias = nn.Parameter(torch.zeros(features_out))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, features_in) -> (batch, frames, features_out)."""
        if self.groups == 1:
            return dense(x, self.weight[0].t(), self.bias)
        # One product a group: a batched one takes four times as long to train on a CPU.
        blocks = zip(x.chunk(self.groups, dim=2), self.weight.unbind(0), strict=True)
        return torch.cat([torch.matmul(part, weight) for part, weight in blocks], dim=2) + self.bias
