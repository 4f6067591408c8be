"""A student that was trained before, as the teacher of the next: causal after non-causal."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from streamsv.nn.config import HOP_SAMPLES
from training.checkpoint import load_network
from training.teachers.heard import Heard


class StudentTeacher:
    """The averaged weights of a checkpoint: its last embedding and its last hidden state.

    A non-causal student needs crops of at least its own length.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.name = path.parent.name
        self._network = load_network(path).to(device)
        self._network.requires_grad_(False)
        self._device = device

    def hear(self, pcm: Tensor) -> Heard:
        """(batch, samples) -> embedding (batch, dimension), one layer (batch, frames, dim).

        It hears as much from the beginning as its kind can: whole hops, or its own length.
        """
        samples = self._network.samples(pcm.shape[1] // HOP_SAMPLES)
        with torch.inference_mode():
            embeddings, hidden = self._network(pcm[:, :samples].to(self._device))
        newest = self._network.first_newest
        # Each frame is as old as its newest sample says: the center of a window of 25 ms.
        center = (newest - 199) / 16_000
        return Heard(embeddings[:, -1].clone(), (hidden[-1].clone(),), 50.0, center)
