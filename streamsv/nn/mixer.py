"""The causal SV-Mixer block: token mixing, two-rate channel mixing, group mixing.

After Heo et al., SV-Mixer (ASRU 2025): local-global mixing (LGM), multi-scale mixing (MSM) and
group channel mixing (GCM), with every operator that looks ahead replaced by a causal one, and
Max-Feature-Map (Heo et al., IEEE Access 2025; Wu et al. 2018) as the default activation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamsv.nn.config import ModelConfig
from streamsv.nn.convolution import DepthwiseConv, GroupedConv, GroupedLinear
from streamsv.nn.memory import RunningSummary, ToeplitzMixing
from streamsv.nn.streaming import Composite, State, Streaming, named, part


class TokenMixing(Composite):
    """LGM, causal: x + local(LN x) + memory(LN x).

    ``local`` is two depthwise convolutions with an activation between them; ``memory`` is a
    running summary, a Toeplitz mixing, or absent.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        first, second = config.token_kernels
        self.norm = nn.LayerNorm(config.dim)
        self.wide = DepthwiseConv(config.dim, first)
        self.narrow = DepthwiseConv(config.dim, second)
        self.activation = nn.GELU() if config.activation == "gelu" else nn.ReLU()
        self.memory: Streaming | None = None
        if config.memory == "summary":
            self.memory = RunningSummary(config.dim, config.summary_dim)
        elif config.memory == "toeplitz":
            self.memory = ToeplitzMixing(
                config.dim, config.toeplitz_length, config.toeplitz_filters
            )
        self.dropout = nn.Dropout(config.dropout)
        local = first + second - 1
        if self.memory is None:
            self.receptive_field = local
        elif self.memory.receptive_field is None:
            self.receptive_field = None
        else:
            self.receptive_field = max(local, self.memory.receptive_field)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape."""
        u = self.norm(x)
        y, wide = self.wide.step(u, part(state, "wide"))
        y, narrow = self.narrow.step(self.activation(y), part(state, "narrow"))
        following = named("wide", wide) | named("narrow", narrow)
        if self.memory is not None:
            z, memory = self.memory.step(u, part(state, "memory"))
            y = y + z
            following |= named("memory", memory)
        return x + self.dropout(y), following


class ChannelMLP(nn.Module):
    """dim -> hidden -> dim in groups, with Max-Feature-Map or GELU between.

    Max-Feature-Map projects to twice the width and keeps the larger of each pair of halves.
    """

    def __init__(self, dim: int, hidden: int, groups: int, activation: str) -> None:
        super().__init__()
        self.mfm = activation == "mfm"
        self.groups = groups
        self.inward = GroupedLinear(dim, 2 * hidden if self.mfm else hidden, groups)
        self.outward = GroupedLinear(hidden, dim, groups)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, dim) -> the same shape."""
        h = self.inward(x)
        h = self._larger_halves(h) if self.mfm else nn.functional.gelu(h)
        y: Tensor = self.outward(h)
        return y

    def _larger_halves(self, h: Tensor) -> Tensor:
        """Max-Feature-Map within each group: no group hears of another."""
        if self.groups == 1:
            first, second = h.chunk(2, dim=2)
            return torch.maximum(first, second)
        batch, frames, width = h.shape
        halves = h.reshape(batch, frames, self.groups, 2, width // (2 * self.groups))
        return torch.maximum(halves[:, :, :, 0], halves[:, :, :, 1]).reshape(
            batch, frames, width // 2
        )


class HalfRate(Streaming):
    """MSM's slow branch, causal: average pairs of frames, mix their channels, hold.

    Pair (2k, 2k+1) is known at frame 2k+1, so frames 2k+1 and 2k+2 carry its result: a delay of
    one slow tick, no look-ahead. The state ``held`` is the last pair's result.
    """

    stride = 2
    receptive_field = 3

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.mlp = ChannelMLP(
            config.dim, config.half_rate_hidden, config.channel_groups, config.activation
        )

    def init_state(self, batch: int) -> State:
        """``held``: (batch, 1, dim) zeros."""
        return {"held": self.zeros(batch, 1, self.dim)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape; frames are even in number."""
        batch, frames, dim = x.shape
        pairs = x.reshape(batch, frames // 2, 2, dim)
        slow = self.mlp((pairs[:, :, 0] + pairs[:, :, 1]) * 0.5)
        held = torch.cat([state["held"].to(slow.dtype), slow], dim=1)
        even, odd = held[:, :-1], held[:, 1:]
        y = torch.stack([even, odd], dim=2).reshape(batch, frames, dim)
        return y, {"held": held[:, -1:].float()}


class ChannelMixing(Composite):
    """MSM and GCM: x + GCM(full(LN x) + half_rate(LN x)).

    GCM is a grouped causal convolution, an activation, and a dense layer that lets the groups
    exchange what they found.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm = nn.LayerNorm(dim)
        self.full = ChannelMLP(dim, config.channel_hidden, config.channel_groups, config.activation)
        self.slow: HalfRate | None = HalfRate(config) if config.half_rate_hidden else None
        self.conv: Streaming = (
            DepthwiseConv(dim, config.group_kernel)
            if config.group_groups == dim
            else GroupedConv(dim, config.group_kernel, config.group_groups)
        )
        self.activation = nn.GELU() if config.activation == "gelu" else nn.ReLU()
        self.dense = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(config.dropout)
        self.stride = 2 if self.slow else 1
        self.receptive_field = config.group_kernel + (2 if self.slow else 0)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape."""
        v = self.norm(x)
        y = self.full(v)
        following: State = {}
        if self.slow is not None:
            slow, held = self.slow.step(v, part(state, "slow"))
            y = y + slow
            following |= named("slow", held)
        y, conv = self.conv.step(y, part(state, "conv"))
        y = self.dense(self.activation(y))
        return x + self.dropout(y), following | named("conv", conv)


class MixerBlock(Composite):
    """One block: token mixing, then channel mixing. (batch, frames, dim) in and out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = TokenMixing(config)
        self.channels = ChannelMixing(config)
        self.stride = self.channels.stride
        tokens, channels = self.tokens.receptive_field, self.channels.receptive_field
        self.receptive_field = None if tokens is None or channels is None else tokens + channels - 1

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape."""
        x, tokens = self.tokens.step(x, part(state, "tokens"))
        x, channels = self.channels.step(x, part(state, "channels"))
        return x, named("tokens", tokens) | named("channels", channels)
