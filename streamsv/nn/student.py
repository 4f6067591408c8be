"""The causal student: PCM in, one embedding of the voice so far out, every 80 ms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsv.nn.config import HOP_SAMPLES, ModelConfig
from streamsv.nn.frontend import LogMelFrontEnd, WaveformFrontEnd
from streamsv.nn.mixer import MixerBlock
from streamsv.nn.pooling import AttentiveStatistics, XiPooling
from streamsv.nn.products import dense
from streamsv.nn.streaming import Composite, State, Streaming, named, part


class Details(NamedTuple):
    """Everything that one pass gives; training distils from more than the embedding.

    ``embedding`` (batch, hops, embedding), unit length; ``frames`` (batch, 4 hops, pooling_dim),
    the last layer before pooling; ``hidden`` depth + 1 tensors (batch, 4 hops, dim), the input
    of each block and the last one's output; ``log_precision`` (batch, hops), the mean log
    posterior precision, or ``None`` where the pooling gives none; ``raw`` (batch, hops, embedding),
    the embedding before its length is made 1.
    """

    embedding: Tensor
    frames: Tensor
    hidden: list[Tensor]
    log_precision: Tensor | None
    raw: Tensor


class Student(Composite):
    """Front end, mixer blocks, learned sum of their outputs, pooling, embedding.

    ``x`` is 16 kHz PCM in [-1, 1], float32, (batch, samples), samples a multiple of 1280; the
    output (batch, samples / 1280, embedding) holds the unit-length embedding after each hop.
    """

    stride = HOP_SAMPLES
    receptive_field = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end: Streaming = (
            LogMelFrontEnd(config) if config.front_end == "logmel" else WaveformFrontEnd(config)
        )
        self.blocks = nn.ModuleList(MixerBlock(config) for _ in range(config.depth))
        self.block_weights = nn.Parameter(torch.full((config.depth + 1,), 1.0 / (config.depth + 1)))
        self.norm = nn.LayerNorm(config.dim)
        self.lift = nn.Linear(config.dim, config.pooling_dim)
        self.pool = (
            AttentiveStatistics(config) if config.pooling == "attentive" else XiPooling(config)
        )
        self.pool_norm = nn.LayerNorm(self.pool.features, elementwise_affine=False)
        self.embed = nn.Linear(self.pool.features, config.embedding)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, samples) -> (batch, samples / 1280, embedding)."""
        details, following = self.step_details(x, state)
        return details.embedding, following

    def step_details(self, x: Tensor, state: State) -> tuple[Details, State]:
        """As :meth:`step`, with everything that the pass computed on the way."""
        y, front_end = self.front_end.step(x[:, :, None], part(state, "front_end"))
        following = named("front_end", front_end)
        hidden = [y]
        for index, block in enumerate(cast("Iterable[MixerBlock]", self.blocks)):
            y, new = block.step(y, part(state, f"blocks.{index}"))
            following |= named(f"blocks.{index}", new)
            hidden.append(y)
        summed = hidden[0] * self.block_weights[0]
        for index, layer in enumerate(hidden[1:], start=1):
            summed = summed + layer * self.block_weights[index]
        frames = F.relu(dense(self.norm(summed), self.lift.weight, self.lift.bias))
        pooled, pool = self.pool.step(frames, part(state, "pool"))
        following |= named("pool", pool)
        log_precision = None
        if pooled.shape[2] != self.pool.features:
            log_precision = pooled[:, :, self.pool.features :].mean(dim=2)
            pooled = pooled[:, :, : self.pool.features]
        raw = dense(self.pool_norm(pooled), self.embed.weight, self.embed.bias).float()
        embedding = F.normalize(raw, dim=2, eps=1e-6)
        return Details(embedding, frames, hidden, log_precision, raw), following
