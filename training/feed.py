"""What each step is trained on: crops drawn, damaged, and heard by the teacher.

A batch is a function of the configuration and its number alone, so it may be made ahead of its
time, by any process, in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from streamsv.errors import ConfigError
from training.augment import Augmenter
from training.batches import Batch, CropSource
from training.config import TrainConfig
from training.corpora import sounds_of, speech_of
from training.disk import DiskSource
from training.losses import draw_prefixes, prefixes_after
from training.manifest import Clip, Sound, read_clips
from training.networks import Network
from training.teachers import Teacher, load_teacher


@dataclasses.dataclass(frozen=True, slots=True)
class Portion:
    """One batch and what is asked of it.

    ``damaged`` (batch, samples) is what the student hears; ``prefixes`` the numbers of the
    embeddings that are judged; ``seconds`` how much audio it is.
    """

    batch: Batch
    damaged: Tensor
    prefixes: Tensor
    seconds: float


def clips_of(config: TrainConfig) -> list[Clip]:
    """The clips that a configuration names: corpora as published, or a table."""
    data = config.data
    return speech_of(data.corpora) if data.corpora else read_clips(Path(data.clips))


class Feed:
    """Portions by number.

    Attributes
    ----------
    bank, class_sizes:
        As :class:`training.batches.CropSource` has them; the bank is empty where nothing is cached.
    dimension:
        Of the teacher's embedding, 0 if it gives none.
    layers:
        Features of each of the teacher's layers.
    first_center_s:
        Where the center of the first teacher frame lies.
    """

    def __init__(self, config: TrainConfig, network: Network, device: torch.device) -> None:
        self._config, self._network, self._device = config, network, device
        data, loss = config.data, config.loss
        sounds: Path | list[Sound] = Path(data.sounds) if data.sounds else []
        if data.sound_corpora:
            sounds = sounds_of(data.sound_corpora)
        self.augment = Augmenter(config.augment, sounds, data.preload_sounds)
        self._teacher: Teacher | None = None
        self.source: CropSource | DiskSource
        if data.stream:
            self.source = DiskSource(
                clips_of(config), config.seed, data.gate, data.speeds, data.source_weights
            )
            self.bank = np.zeros((0, network.embedding), np.float32)
            self._probe()
        else:
            self.source = CropSource(
                data,
                config.seed,
                loss.speaker_share,
                loss.wants_frames(),
                loss.relational_queue,
                config.teacher,
            )
            self.bank, self.layers = self.source.bank, self.source.layers
            self.first_center_s = self.source.first_center_s
            self.dimension = self.bank.shape[1]
        self.class_sizes: NDArray[np.int64] = self.source.class_sizes
        self._pool = ThreadPoolExecutor(config.workers) if config.workers else None
        self._pending: dict[int, Future[tuple[Batch, Tensor, Tensor]]] = {}

    def _probe(self) -> None:
        """Let the teacher hear a second of silence, to learn what it gives."""
        loss = self._config.loss
        self.layers, self.dimension, self.first_center_s = (), 0, 0.0125
        if not (loss.wants_embeddings() or loss.wants_frames()):
            return
        self._teacher = load_teacher(self._config.teacher, self._config.threads, self._device)
        hops = self._config.optimizer.shapes[0][1]
        silence = torch.zeros(1, self._network.samples(hops), device=self._device)
        heard = self._teacher.hear(silence)
        if heard.frame_rate != 50.0:
            raise ConfigError(
                f"{self._teacher.name} gives {heard.frame_rate} frames a second, not 50.",
                heard.frame_rate,
            )
        self.layers = tuple(layer.shape[2] for layer in heard.layers)
        self.first_center_s = heard.first_center_s
        self.dimension = 0 if heard.embedding is None else heard.embedding.shape[1]

    def get(self, number: int, ahead: Iterable[int] = ()) -> Portion:
        """Portion ``number``; those ``ahead`` are begun meanwhile if there are workers."""
        if self._pool is None:
            batch, damaged, prefixes = self._make(number)
        else:
            for each in (number, *ahead):
                if each >= number and each not in self._pending:
                    self._pending[each] = self._pool.submit(self._make, each)
            batch, damaged, prefixes = self._pending.pop(number).result()
        batch, damaged = batch.to(self._device), damaged.to(self._device)
        if self._teacher is not None:
            batch = self._heard(self._teacher, batch)
        return Portion(batch, damaged, prefixes, damaged.numel() / 16_000)

    def _make(self, number: int) -> tuple[Batch, Tensor, Tensor]:
        config = self._config
        pick = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        shares = torch.tensor(config.optimizer.shape_shares)
        chosen = int(torch.multinomial(shares, 1, generator=pick))
        crops, hops = config.optimizer.shapes[chosen]
        batch, generator = self.source.draw(number, crops, hops)
        samples = self._network.samples(hops)
        batch = dataclasses.replace(batch, pcm=batch.pcm[:, :samples])
        damaged = self.augment(batch.pcm, generator)
        given, loss = self._network.embeddings(hops), config.loss
        prefixes = torch.zeros(1, dtype=torch.int64)
        if given > 1 and loss.prefix_points_s:
            prefixes = prefixes_after(loss.prefix_points_s, given)
        elif given > 1:
            prefixes = draw_prefixes(given, loss.prefixes, loss.min_prefix_hops, pick)
        return batch, damaged, prefixes

    def _heard(self, teacher: Teacher, batch: Batch) -> Batch:
        """The batch with what the teacher makes of the clean crops."""
        is_mixed = self._device.type == "cuda" and self._config.precision == "bfloat16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=is_mixed):
            heard = teacher.hear(batch.pcm)
        targets = batch.targets
        if heard.embedding is not None:
            targets = F.normalize(heard.embedding.float(), dim=1)
        frames = batch.frames
        if heard.layers:
            frames = torch.cat(heard.layers, dim=2).float()
        valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        return dataclasses.replace(batch, targets=targets, frames=frames, frames_valid=valid)
