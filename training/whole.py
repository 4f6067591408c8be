"""The student with causality taken away: the same parameters, the whole clip heard at once.

Only to learn what causality costs (:mod:`training.ablation`). The convolutions of the blocks are
centered on their frame, running means become the clip's mean, and the slow branch of MSM speaks for
its own pair of frames; the front end's windows stay where they are. It does not stream: an
embedding early in a clip is got by hearing the clip up to there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from streamsv.errors import ConfigError
from streamsv.nn.config import ModelConfig
from streamsv.nn.convolution import DepthwiseConv
from streamsv.nn.frontend import LogMel, LogMelFrontEnd
from streamsv.nn.memory import RunningSummary
from streamsv.nn.mixer import ChannelMixing, MixerBlock, TokenMixing
from streamsv.nn.products import dense
from streamsv.nn.streaming import State
from streamsv.nn.student import Student


def _centered(x: Tensor, context: int) -> Tensor:
    """(batch, frames, channels) with ``context`` frames of zeros, half of them on each side."""
    return F.pad(x, (0, 0, context // 2, context - context // 2))


class WholeLogMel(LogMel):
    """Log-mel energies less the clip's mean, which the training mean still seeds."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, samples, 1) -> (batch, samples / 160, mels)."""
        with torch.autocast(x.device.type, enabled=False):
            samples = torch.cat([state["left"], x.squeeze(2).float()], dim=1)
            energies = self.log_energies(samples)
            seed = self.mean * self.prior_frames
            count = energies.shape[1] + self.prior_frames
            mean = (energies.sum(dim=1, keepdim=True) + seed) / count
            return (energies - mean) * self.scale, state


class WholeTokenMixing(TokenMixing):
    """LGM with filters centered on their frame and a summary of the whole clip."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape."""
        u = self.norm(x)
        y = self.narrow.valid(self.activation(self.wide.valid(_centered(u, self.context))))
        memory = cast("RunningSummary", self.memory)
        heard = torch.relu(dense(u, memory.inward.weight, memory.inward.bias)).float()
        count = heard.shape[1] + memory.prior_frames
        mean = (heard.sum(dim=1, keepdim=True) / count).to(u.dtype)
        y = y + dense(mean, memory.outward.weight, memory.outward.bias)
        return x + self.dropout(y), state


class WholeChannelMixing(ChannelMixing):
    """MSM and GCM; the slow branch is not held back, the filter is centered."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, frames, dim) -> the same shape."""
        v = self.norm(x)
        y = self.full(v)
        if self.slow is not None:
            pairs = v.reshape(len(v), -1, 2, v.shape[2]).mean(dim=2)
            y = y + self.slow.mlp(pairs).repeat_interleave(2, dim=1)
        conv = cast("DepthwiseConv", self.conv)
        y = self.activation(conv.valid(_centered(y, conv.kernel - 1)))
        return x + self.dropout(self.dense(y)), state


class WholeStudent(Student):
    """The student of a configuration, not causal; the last embedding is that of the clip.

    Raises ConfigError for what has no centered twin here: another front end than log-mel, another
    memory than the summary, a grouped convolution that is not depthwise.
    """

    def __init__(self, config: ModelConfig) -> None:
        known = (config.front_end, config.memory, config.group_groups)
        if known != ("logmel", "summary", config.dim):
            raise ConfigError(
                "A student that hears whole clips needs model.front_end logmel, model.memory "
                f"summary and model.group_groups {config.dim}.",
                str(known),
            )
        super().__init__(config)
        cast("LogMelFrontEnd", self.front_end).logmel = WholeLogMel(config)
        for block in cast("Iterable[MixerBlock]", self.blocks):
            block.tokens = WholeTokenMixing(config)
            block.channels = WholeChannelMixing(config)
