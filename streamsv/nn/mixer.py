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
from streamsv.nn.products import (
    dense,
    dense_onto,
    filter_planes,
    from_planes,
    held_for_two,
    is_exporting,
    larger_of_two,
    to_planes,
)
from streamsv.nn.streaming import Composite, State, Streaming, named, part


class TokenMixing(Composite):
    """LGM, causal: x + local(LN x) + memory(LN x).

    ``local`` is two depthwise convolutions with an activation between them; ``memory`` is a
    running summary, a Toeplitz mixing, or absent. The two convolutions share one left context,
    the state ``left``: the few frames between them are computed again rather than kept.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dim = config.dim
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
        self.context = local - 1
        if self.memory is None:
            self.receptive_field = local
        elif self.memory.receptive_field is None:
            self.receptive_field = None
        else:
            self.receptive_field = max(local, self.memory.receptive_field)

    def streaming_children(self) -> dict[str, Streaming]:
        """The memory; the convolutions' context is this module's own."""
        return {} if self.memory is None else {"memory": self.memory}

    def init_state(self, batch: int) -> State:
        """``left``: (batch, first + second - 2, dim) zeros; and the memory's."""
        return {"left": self.zeros(batch, self.context, self.dim), **super().init_state(batch)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape."""
        u = self.norm(x)
        padded = torch.cat([state["left"].to(u.dtype), u], dim=1)
        following = {"left": padded[:, x.shape[1] :].float()}
        if is_exporting():
            y, memory = self._shaped(x, u, padded, state)
            return y, following | memory
        y = self.narrow.valid(self.activation(self.wide.valid(padded)))
        if self.memory is not None:
            z, memory = self.memory.step(u, part(state, "memory"))
            y = y + z
            following |= named("memory", memory)
        return x + self.dropout(y), following

    def _shaped(self, x: Tensor, u: Tensor, padded: Tensor, state: State) -> tuple[Tensor, State]:
        """The same for the exported graph: one reordering for both convolutions, no bias alone."""
        planes = self.activation(self.wide.valid_planes(to_planes(padded)))
        weight, bias = self.narrow.weight, self.narrow.bias
        if not isinstance(self.memory, RunningSummary):
            y = x + from_planes(filter_planes(planes, weight, bias))
            if self.memory is None:
                return y, {}
            z, memory = self.memory.step(u, part(state, "memory"))
            return y + z, named("memory", memory)
        outward = self.memory.outward
        y = x + from_planes(filter_planes(planes, weight, bias + outward.bias))
        means, memory = self.memory.means(u, part(state, "memory"))
        return dense_onto(y, means, outward.weight), named("memory", memory)


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
        y: Tensor = self.outward(self.hidden(x))
        return y

    def hidden(self, x: Tensor) -> Tensor:
        """(batch, frames, dim) -> (batch, frames, hidden)."""
        if not self.mfm:
            return nn.functional.gelu(self.inward(x))
        if self.groups == 1:
            return larger_of_two(x, self.inward.weight[0].t(), self.inward.bias)
        return self._larger_halves(self.inward(x))

    def _larger_halves(self, h: Tensor) -> Tensor:
        """Max-Feature-Map within each group: no group hears of another."""
        batch, frames, width = h.shape
        halves = h.reshape(batch, frames, self.groups, 2, width // (2 * self.groups))
        return torch.maximum(halves[:, :, :, 0], halves[:, :, :, 1]).reshape(
            batch, frames, width // 2
        )


class HalfRate(Streaming):
    """MSM's slow branch, causal: average pairs of frames, mix their channels, hold.

    Pair (2k, 2k+1) is known at frame 2k+1, so frames 2k+1 and 2k+2 carry its result: a delay of
    one slow tick, no look-ahead. What is held is the hidden layer: the state ``held`` is the
    last pair's, and that of a fresh stream is zeros.
    """

    stride = 2
    receptive_field = 3

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.half_rate_hidden
        self.mlp = ChannelMLP(
            config.dim, config.half_rate_hidden, config.channel_groups, config.activation
        )

    def init_state(self, batch: int) -> State:
        """``held``: (batch, 1, hidden) zeros."""
        return {"held": self.zeros(batch, 1, self.width)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape; frames are even in number."""
        known, following = self.known(x, state)
        return held_for_two(self.mlp.outward(known)), following

    def hidden(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The hidden layer at each frame: (batch, frames, dim) -> (batch, frames, hidden)."""
        known, following = self.known(x, state)
        return held_for_two(known), following

    def known(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The hidden layer of the pair before ``x`` and of its pairs, one after another."""
        _, frames, dim = x.shape
        slow = self.mlp.hidden(x.reshape(-1, frames // 2, 2, dim).mean(dim=2))
        known = torch.cat([state["held"].to(slow.dtype), slow], dim=1)
        return known, {"held": slow[:, -1:].float()}


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
        y, following = self._rates(self.norm(x), state)
        y, conv = self.conv.step(y, part(state, "conv"))
        y = self.activation(y)
        if is_exporting():
            y = dense_onto(x + self.dense.bias, y, self.dense.weight)
            return y, following | named("conv", conv)
        y = self.dense(y)
        return x + self.dropout(y), following | named("conv", conv)

    def _rates(self, v: Tensor, state: State) -> tuple[Tensor, State]:
        """The sum of both rates, and the slow one's state."""
        if self.slow is None:
            return self.full(v), {}
        if not is_exporting() or self.full.groups > 1:
            slow, held = self.slow.step(v, part(state, "slow"))
            return self.full(v) + slow, named("slow", held)
        # One product for both: 3 % more multiply-adds cost less than two sums over all channels.
        hidden, held = self.slow.hidden(v, part(state, "slow"))
        joined = torch.cat([self.full.hidden(v), hidden], dim=2)
        outward, slow_outward = self.full.outward, self.slow.mlp.outward
        weight = torch.cat([outward.weight[0], slow_outward.weight[0]]).t()
        return dense(joined, weight, outward.bias + slow_outward.bias), named("slow", held)


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
