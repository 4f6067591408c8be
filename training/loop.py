"""The loop: ``train(config) -> Path``, resumable at any moment."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamsv.config import to_mapping
from streamsv.errors import ConfigError
from streamsv.nn.frontend import LogMelFrontEnd
from streamsv.nn.student import Student
from training.augment import Augmenter
from training.batches import Batch, CropSource
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import OptimizerConfig, TrainConfig
from training.losses import draw_prefixes, embedding_loss, frame_loss, posterior_loss

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Linear from 0 to ``peak_rate`` over the warm-up, then a cosine down to ``final_rate``."""
    if step < config.warmup:
        return config.peak_rate * (step + 1) / config.warmup
    progress = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_rate + (config.peak_rate - config.final_rate) * share


class Trainer:
    """One run: its student, its averaged student, its optimizer and where it stands."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.config = config
        self.folder = Path(config.run_dir) / config.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source = CropSource(
            config.data, config.seed, config.loss.speaker_share, config.loss.frames > 0
        )
        self._check_dimensions()
        self.augment = Augmenter(config.augment, Path(config.data.sounds))
        self.student = Student(config.model).train()
        self.average = Student(config.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self._parameter_groups(), lr=config.optimizer.peak_rate, betas=(0.9, 0.98)
        )
        self.bank = torch.from_numpy(self.source.bank)
        self.spread = torch.ones(self.source.features)
        self.step = 0
        self.seconds = 0.0
        self._restore()
        self.forward = self._make_forward()

    @property
    def checkpoint(self) -> Path:
        """Where the run is saved."""
        return self.folder / "checkpoint.pt"

    def _check_dimensions(self) -> None:
        model = self.config.model
        teacher = self.source.bank.shape[1]
        if model.embedding != teacher:
            raise ConfigError(
                f"model.embedding is {model.embedding}; the teacher's embedding has {teacher}.",
                model.embedding,
            )
        if self.config.loss.frames and model.pooling_dim != self.source.features:
            raise ConfigError(
                f"model.pooling_dim is {model.pooling_dim}; the teacher's frames have "
                f"{self.source.features}. Make them equal, or set loss.frames to 0.",
                model.pooling_dim,
            )

    def _parameter_groups(self) -> list[dict[str, Any]]:
        decay = self.config.optimizer.weight_decay
        matrices = [p for p in self.student.parameters() if p.dim() > 1]
        vectors = [p for p in self.student.parameters() if p.dim() <= 1]
        return [
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]

    def _restore(self) -> None:
        if self.checkpoint.is_file():
            content = load_checkpoint(self.checkpoint)
            self.student.load_state_dict(content["student"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.spread = content["spread"]
            self.step, self.seconds = content["step"], content["seconds"]
            return
        if self.config.start_from:
            content = load_checkpoint(Path(self.config.start_from))
            self.student.load_state_dict(content["average"])
            self.spread = content["spread"]
        else:
            self._measure_statistics()
        self.average.load_state_dict(self.student.state_dict())

    def _measure_statistics(self) -> None:
        """Set the front end's mean and spread, and the spread of teacher frames, from batches."""
        energies, frames = [], []
        for number in range(8):
            batch, generator = self.source.draw(-1 - number & 0x7FFFFFFF, 32, 38)
            damaged = self.augment(batch.pcm, generator)
            front_end = self.student.front_end
            if isinstance(front_end, LogMelFrontEnd):
                logmel = front_end.logmel
                padded = torch.nn.functional.pad(damaged, (240, 0))
                energies.append(logmel.log_energies(padded).flatten(0, 1))
            frames.append(batch.frames[batch.frames_valid])
        if self.config.loss.frames:
            self.spread = torch.cat(frames).std(dim=0).clamp(min=0.2)
        if energies and isinstance(front_end, LogMelFrontEnd):
            joined = torch.cat(energies)
            within = torch.cat([e - e.mean(dim=0) for e in energies])
            front_end.logmel.set_statistics(joined.mean(dim=0), within.std(dim=0))

    def save(self) -> None:
        """Write the checkpoint: all that the run depends on."""
        save_checkpoint(
            self.checkpoint,
            {
                "config": to_mapping(self.config),
                "model_config": self.config.model.to_dict(),
                "student": self.student.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "spread": self.spread,
                "step": self.step,
                "seconds": self.seconds,
            },
        )

    def _make_forward(self) -> Forward:
        def forward(pcm: Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast(pcm.device.type, dtype=torch.bfloat16):
                details, _ = self.student.step_details(pcm, self.student.init_state(len(pcm)))
            return details.embedding, details.frames

        if not self.config.compile:
            return forward
        compiled: Forward = torch.compile(forward, dynamic=False)
        return compiled

    def losses(self, batch: Batch, damaged: Tensor, prefixes: Tensor) -> dict[str, Tensor]:
        """Each loss of the configuration by name, unweighted."""
        loss = self.config.loss
        embeddings, frames = self.forward(damaged)
        chosen = embeddings[:, prefixes]
        found = {"embedding": embedding_loss(chosen, batch.targets)}
        if loss.posterior:
            found["posterior"] = posterior_loss(
                chosen, batch.targets, self.bank, loss.posterior_scale
            )
        if loss.frames:
            found["frames"] = frame_loss(
                frames, batch.frames, batch.frames_valid, self.spread, loss.frame_delay
            )
        return found

    def advance(self) -> dict[str, float]:
        """One step of the optimizer; returns the losses."""
        config = self.config
        shapes = config.optimizer.shapes
        pick = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        shares = torch.tensor(config.optimizer.shape_shares)
        crops, hops = shapes[int(torch.multinomial(shares, 1, generator=pick))]
        batch, generator = self.source.draw(self.step, crops, hops)
        damaged = self.augment(batch.pcm, generator)
        prefixes = draw_prefixes(hops, config.loss.prefixes, config.loss.min_prefix_hops, pick)
        rate = learning_rate(config.optimizer, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        found = self.losses(batch, damaged, prefixes)
        weights = dataclasses.asdict(config.loss)
        total = torch.stack([weights[name] * value for name, value in found.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), config.optimizer.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self._update_average()
        self.step += 1
        self.seconds += crops * hops * 0.08
        return {name: float(value.detach()) for name, value in found.items()} | {"lr": rate}

    def _update_average(self) -> None:
        decay = min(self.config.optimizer.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.student.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
            for kept, fresh in zip(self.average.buffers(), self.student.buffers(), strict=True):
                kept.copy_(fresh)


def train(config: TrainConfig, report: Callable[[str], None] = print) -> Path:
    """Run, or go on with, a training; returns the checkpoint's path.

    Writes ``checkpoint.pt`` and ``log.jsonl`` into ``run_dir/name``. Killed at any moment, the
    same call goes on from the last checkpoint with the batches that were due.
    """
    trainer = Trainer(config)
    log = trainer.folder / "log.jsonl"
    sums: dict[str, float] = {}
    count = 0
    began, began_step, began_seconds = time.monotonic(), trainer.step, trainer.seconds
    while trainer.step < config.optimizer.steps:
        for name, value in trainer.advance().items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
        if trainer.step % config.log_every == 0:
            elapsed = time.monotonic() - began
            done = trainer.step - began_step
            row = {"step": trainer.step} | {k: round(v / count, 5) for k, v in sums.items()}
            row["audio_s_per_s"] = round((trainer.seconds - began_seconds) / elapsed, 1)
            row["left_s"] = round(elapsed / done * (config.optimizer.steps - trainer.step))
            with log.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
            report(json.dumps(row))
            sums, count = {}, 0
        if trainer.step % config.checkpoint_every == 0:
            trainer.save()
    trainer.save()
    return trainer.checkpoint
