"""The students as the loop sees them: PCM in, embeddings over time and hidden states out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsv.errors import ConfigError
from streamsv.nn.config import HOP_SAMPLES, ModelConfig
from streamsv.nn.paper import PaperConfig, PaperStudent
from streamsv.nn.student import Student
from training.whole import WholeStudent

Answer = tuple[Tensor, list[Tensor]]


class CausalNetwork(nn.Module):
    """The streaming student: an embedding after each hop.

    Attributes
    ----------
    first_newest:
        The newest sample that the first frame depends on, counted from 0; the next frame's lies
        320 samples later.
    """

    kind = "causal"
    first_newest = 319

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.student = Student(config)
        self.dim, self.embedding = config.dim, config.embedding

    def samples(self, hops: int) -> int:
        """How many samples of a crop of ``hops`` it hears."""
        return hops * HOP_SAMPLES

    def embeddings(self, hops: int) -> int:
        """How many embeddings a crop gives."""
        return hops

    def forward(self, pcm: Tensor) -> Answer:
        """(batch, samples) -> unit embeddings (batch, hops, d), states (batch, frames, dim)."""
        details, _ = self.student.step_details(pcm, self.student.init_state(len(pcm)))
        return details.embedding, details.hidden


def _roughened(norm: nn.Module, _inputs: object, features: Tensor) -> Tensor:
    """Features (batch, dim, frames) with noise of a spread from 0.001 to 0.01, in training."""
    if not norm.training:
        return features
    spread = torch.empty(len(features), 1, 1, device=features.device).uniform_(0.001, 0.01)
    return features + spread * torch.randn_like(features)


class PaperNetwork(nn.Module):
    """The paper's student: one embedding of a clip of fixed length.

    In training its back end hears normalized features with a little noise, as in the release.
    """

    kind = "paper"
    first_newest = 399

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        self.student = PaperStudent(config)
        self.student.back_end.feature_norm.register_forward_hook(_roughened)
        self.dim, self.embedding = config.dim, config.embedding

    def samples(self, hops: int) -> int:
        """The clip's length, whatever the crop; ConfigError if the crop is shorter."""
        if hops * HOP_SAMPLES < self.config.clip_samples:
            raise ConfigError(
                f"optimizer.shapes has crops of {hops} hops ({hops * 0.08:.2f} s); the paper's "
                f"student needs at least {-(-self.config.clip_samples // HOP_SAMPLES)}.",
                hops,
            )
        return self.config.clip_samples

    def embeddings(self, _hops: int) -> int:
        """One, at the end."""
        return 1

    def forward(self, pcm: Tensor) -> Answer:
        """(batch, clip_samples) -> unit embedding (batch, 1, d), states (batch, frames, dim)."""
        states = self.student.hidden_states(pcm)
        embedding = F.normalize(self.student.embed(states).float(), dim=1, eps=1e-6)
        return embedding[:, None], states


class WholeNetwork(CausalNetwork):
    """The streaming student's twin that hears a whole clip at once: one embedding, at the end."""

    kind = "whole"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.student = WholeStudent(config)

    def embeddings(self, _hops: int) -> int:
        """One, at the end."""
        return 1

    def forward(self, pcm: Tensor) -> Answer:
        """(batch, samples) -> unit embedding (batch, 1, d), states (batch, frames, dim)."""
        embeddings, hidden = super().forward(pcm)
        return embeddings[:, -1:], hidden


Network = CausalNetwork | PaperNetwork


def make_network(kind: str, model: ModelConfig, paper: PaperConfig) -> Network:
    """The student that a configuration asks for, with fresh weights."""
    if kind == "paper":
        return PaperNetwork(paper)
    return WholeNetwork(model) if kind == "whole" else CausalNetwork(model)
