"""A student with everything that is only there to train it, and what its answers cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.alignment import FrameGrid, aligned, pair
from training.batches import Batch
from training.config import LossConfig, TrainConfig
from training.frame_losses import FrameHeads, distilhubert_loss, hidden_loss, huber_loss
from training.losses import embedding_loss, posterior_loss, prefix_weights
from training.networks import Answer, Network
from training.relations import decoupled_posterior_loss, relational_loss
from training.speaker_loss import SpeakerHead

FRAME_SAMPLES = 320

DISTILLED = ("embedding", "posterior", "decoupled", "relational", "frames", "hidden", "layers")
"""The losses against the teacher, which follow the distillation's schedule."""


class Objective(nn.Module):
    """Student, discarded heads and losses as one module, so that one pass may be shared out.

    ``layers`` are the features of each teacher layer, ``class_sizes`` the clips of each speaker,
    ``bank`` (speakers, d) the speakers' centers, ``first_center_s`` where the first teacher frame
    has its center.
    """

    bank: Tensor
    spread: Tensor

    def __init__(
        self,
        config: TrainConfig,
        network: Network,
        layers: tuple[int, ...],
        class_sizes: NDArray[np.int64],
        bank: NDArray[np.float32],
        first_center_s: float,
    ) -> None:
        super().__init__()
        loss = config.loss
        self.loss: LossConfig = loss
        self.network = network
        self.layers = layers
        self.first_center_s = first_center_s
        self.heads: FrameHeads | None = None
        if loss.wants_frames():
            self.heads = FrameHeads(
                network.dim, layers, loss.frames > 0, loss.hidden > 0, loss.layers > 0
            )
        self.speakers: SpeakerHead | None = None
        if loss.speaker:
            weights = None
            if loss.balance_classes:
                weights = torch.from_numpy(class_sizes.mean() / class_sizes).float()
            start = torch.from_numpy(bank)
            is_alike = start.shape == (len(class_sizes), network.embedding)
            self.speakers = SpeakerHead(
                network.embedding,
                len(class_sizes),
                loss.sub_centers,
                weights,
                start if is_alike and loss.wants_embeddings() else None,
            )
        self.register_buffer("bank", torch.from_numpy(bank), persistent=False)
        self.register_buffer("spread", torch.ones(layers[-1] if layers else 0), persistent=False)
        self._answer = self._make_answer(config)

    def tables(self) -> list[Tensor]:
        """Weights whose rows stand for speakers: no maps, so no matrices to an optimizer."""
        return [] if self.speakers is None else [self.speakers.centers]

    def discarded(self) -> dict[str, Tensor]:
        """The weights of the heads, by name."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith("network.")
        }

    def _make_answer(self, config: TrainConfig) -> Callable[[Tensor], Answer]:
        is_mixed = config.precision == "bfloat16"

        def answer(pcm: Tensor) -> Answer:
            with torch.autocast(pcm.device.type, dtype=torch.bfloat16, enabled=is_mixed):
                embeddings, hidden = self.network(pcm)
            return embeddings, hidden[-1:]

        if not config.compile:
            return answer
        return cast("Callable[[Tensor], Answer]", torch.compile(answer, dynamic=False))

    def forward(self, damaged: Tensor, batch: Batch, prefixes: Tensor) -> dict[str, Tensor]:
        """Each loss of the configuration by name, unweighted.

        ``damaged`` (batch, samples) what the student hears; ``prefixes`` the embeddings judged.
        """
        loss = self.loss
        embeddings, hidden = self._answer(damaged)
        chosen = embeddings[:, prefixes]
        weights = prefix_weights(prefixes, embeddings.shape[1], loss.prefix_emphasis)
        found: dict[str, Tensor] = {}
        if loss.embedding:
            found["embedding"] = embedding_loss(chosen, batch.targets, weights)
        if loss.posterior:
            found["posterior"] = posterior_loss(
                chosen, batch.targets, self.bank, loss.posterior_scale, weights
            )
        if loss.decoupled:
            found["decoupled"] = decoupled_posterior_loss(
                chosen,
                batch.targets,
                self.bank,
                loss.posterior_scale,
                batch.speakers,
                loss.non_target_weight,
                weights,
            )
        if loss.relational:
            found["relational"] = relational_loss(chosen, batch.targets, batch.others, weights)
        if self.heads is not None:
            found |= self._frame_losses(self.heads, hidden[-1].float(), batch)
        if self.speakers is not None:
            found["speaker"] = self.speakers(
                chosen,
                batch.speakers,
                loss.margin,
                loss.scale,
                loss.hard_classes,
                loss.hard_margin,
                weights,
            )
        return found

    def _frame_losses(self, heads: FrameHeads, state: Tensor, batch: Batch) -> dict[str, Tensor]:
        teacher = FrameGrid(self.first_center_s * 16_000, FRAME_SAMPLES)
        student = FrameGrid(self.network.first_newest, FRAME_SAMPLES)
        pairs = pair(
            teacher,
            student,
            (batch.frames.shape[1], state.shape[1]),
            self.loss.frame_delay * FRAME_SAMPLES,
        )
        frames, valid = aligned(batch.frames, batch.frames_valid, pairs)
        edges = list(itertools.accumulate(self.layers[:-1]))
        targets = frames.tensor_split(edges, dim=2)
        found: dict[str, Tensor] = {}
        if heads.frames is not None:
            found["frames"] = huber_loss(heads.frames(state), targets[-1], valid, self.spread)
        if heads.hidden is not None:
            found["hidden"] = hidden_loss(heads.hidden(state), targets[-1], valid)
        if len(heads.layers):
            costs = [
                distilhubert_loss(head(state), target, valid, self.loss.layer_cosine)
                for head, target in zip(heads.layers, targets, strict=True)
            ]
            found["layers"] = torch.stack(costs).sum()
        return found
