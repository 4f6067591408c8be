"""The whole of the paper's student: a clip of three seconds to an embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamsv.errors import UnsupportedAudio
from streamsv.nn.paper.config import PaperConfig
from streamsv.nn.paper.ecapa import EcapaTDNN
from streamsv.nn.paper.frontend import FeatureProjection, WaveformCNN
from streamsv.nn.paper.mixer import SVMixerBlock

SAMPLE_RATE_HZ = 16_000


class LayerSum(nn.Module):
    """A weighted sum of the encoder's states: one free scalar for each, with no softmax."""

    def __init__(self, states: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(states))

    def forward(self, states: list[Tensor]) -> Tensor:
        """States (batch, frames, dim) -> their weighted sum, the same shape."""
        total = self.weight[0] * states[0]
        for weight, state in zip(self.weight[1:], states[1:], strict=True):
            total = total + weight * state
        return total


class PaperStudent(nn.Module):
    """Waveform CNN, SV-Mixer blocks, learned layer sum, ECAPA-TDNN (Heo et al. 2025).

    33.04 M parameters at the default depth of 5, 77.99 M at 17. It is not causal and hears clips of
    one length only, ``config.clip_samples``.
    """

    def __init__(self, config: PaperConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PaperConfig()
        self.front_end = WaveformCNN(config.front_end_channels)
        self.projection = FeatureProjection(config.front_end_channels, config.dim, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            SVMixerBlock(
                config.dim,
                config.frames,
                config.groups,
                config.token_hidden,
                config.expansion,
                token_dropout=config.dropout,
                channel_dropout=0.0 if index == config.depth - 1 else config.dropout,
            )
            for index in range(config.depth)
        )
        self.final_norm = nn.LayerNorm(config.dim)
        self.layer_sum = LayerSum(config.depth + 1)
        self.back_end = EcapaTDNN(config)

    def forward(self, pcm: Tensor) -> Tensor:
        """pcm: float, (batch, samples), 16 kHz, in [-1, 1] -> embedding (batch, embedding).

        Raises :class:`~streamsv.errors.UnsupportedAudio` as :meth:`hidden_states` does.
        """
        return self.embed(self.hidden_states(pcm))

    def hidden_states(self, pcm: Tensor) -> list[Tensor]:
        """As ``forward``, to depth + 1 states (batch, frames, dim): block inputs, then final norm.

        Raises :class:`~streamsv.errors.UnsupportedAudio` for anything but a batch of float clips of
        exactly ``config.clip_samples`` samples.
        """
        self._check(pcm)
        x = self.dropout(self.projection(self.front_end(pcm)))
        states = []
        for block in self.blocks:
            states.append(x)
            x = block(x)
        return [*states, self.final_norm(x)]

    def embed(self, states: list[Tensor]) -> Tensor:
        """The states of :meth:`hidden_states` -> embedding (batch, embedding).

        Apart from :meth:`forward`, so that distillation and speaker loss share one pass.
        """
        embedding: Tensor = self.back_end(self.layer_sum(states))
        return embedding

    def _check(self, pcm: Tensor) -> None:
        samples = self.config.clip_samples
        if pcm.dim() != 2 or pcm.shape[1] != samples:
            shape = tuple(pcm.shape)
            raise UnsupportedAudio(
                f"The paper's student hears clips of exactly {samples} samples "
                f"({samples / SAMPLE_RATE_HZ:g} s at 16 kHz) as (batch, {samples}), not {shape}; "
                "cut longer audio into such clips and repeat shorter audio until it fills one.",
                str(shape),
            )
        if not pcm.is_floating_point():
            raise UnsupportedAudio(
                f"The paper's student hears float samples in [-1, 1], not {pcm.dtype}; "
                "convert them to float32 and divide by full scale.",
                str(pcm.dtype),
            )
