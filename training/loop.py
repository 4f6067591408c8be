"""The loop: ``train(config) -> Path``, resumable at any moment."""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from streamsv.config import to_mapping
from streamsv.errors import ConfigError
from streamsv.nn.frontend import LogMelFrontEnd
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.distributed import World, join
from training.feed import Feed
from training.losses import distillation_factor
from training.networks import make_network
from training.normalization import RunningStatistics
from training.objective import DISTILLED, Objective
from training.optimizers import learning_rate, make_optimizer
from training.plots import plot_run

MOST_SKIPPED = 20
"""Steps in a row without a finite gradient before a run gives up."""


class Trainer:
    """One run: its student, its averaged student, its optimizer and where it stands."""

    def __init__(self, config: TrainConfig, world: World | None = None) -> None:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.config = config
        self.world = world or join(config.device)
        if config.optimizer.accumulate % self.world.size:
            raise ConfigError(
                f"optimizer.accumulate is {config.optimizer.accumulate}; {self.world.size} "
                "processes need a multiple of their number.",
                config.optimizer.accumulate,
            )
        self.folder = config.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        network = make_network(config.network, config.model, config.paper)
        self.student = network.student
        self.average = make_network(config.network, config.model, config.paper).student
        self.average.requires_grad_(False)
        self.feed = Feed(config, network, self.world.device)
        self._check_teacher(network.embedding)
        feed = self.feed
        self.objective = Objective(
            config, network, feed.layers, feed.class_sizes, feed.bank, feed.first_center_s
        ).train()
        self.objective.to(self.world.device)
        self.average.to(self.world.device)
        self.optimizer = make_optimizer(self.objective, config.optimizer, 0)
        self.step = 0
        self.seconds = 0.0
        self.skipped = self._skipped_in_row = 0
        self._unlogged: dict[str, float] = {}
        self._unlogged_steps = 0
        self._restore()
        self.statistics = RunningStatistics(self.student, self.world)
        self.parallel = self._make_parallel()

    @property
    def checkpoint(self) -> Path:
        """Where the run is saved."""
        return self.folder / "checkpoint.pt"

    def _check_teacher(self, embedding: int) -> None:
        loss, feed = self.config.loss, self.feed
        if loss.wants_embeddings() and embedding != feed.dimension:
            gives = f"embedding has {feed.dimension}" if feed.dimension else "has no embedding"
            raise ConfigError(
                f"{self.config.network} embedding is {embedding}; the teacher's {gives}. Make them "
                "equal, or set loss.embedding, posterior, decoupled and relational to 0.",
                embedding,
            )
        if loss.wants_frames() and not feed.layers:
            raise ConfigError("The teacher gives no frames: set their losses to 0.", None)
        if loss.speaker and not len(feed.class_sizes):
            raise ConfigError("loss.speaker needs clips with labeled speakers.", loss.speaker)

    def _make_parallel(self) -> torch.nn.Module:
        if self.world.size == 1:
            return self.objective
        loss = self.config.loss
        is_whole = loss.wants_embeddings() or loss.speaker > 0
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        newer, older = "forward_sync_buffers", "broadcast_buffers"
        unsynced: dict[str, Any] = {newer if newer in known else older: False}
        return DistributedDataParallel(
            self.objective, find_unused_parameters=not is_whole, **unsynced
        )

    def _restore(self) -> None:
        if self.checkpoint.is_file():
            self._resume(load_checkpoint(self.checkpoint))
            return
        self._measure_statistics()
        if self.config.start_from:
            content = load_checkpoint(Path(self.config.start_from))
            if content.get("network", "causal") != self.config.network:
                raise ConfigError(
                    f"start_from is a {content.get('network', 'causal')} student; this run trains "
                    f"a {self.config.network} one. Make it the teacher instead.",
                    self.config.start_from,
                )
            try:
                self.student.load_state_dict(content["average"])
            except RuntimeError as error:
                raise ConfigError(
                    f"start_from, {self.config.start_from}, is a student of another shape: set "
                    f"{self._section} as it was there, or leave start_from out.",
                    self.config.start_from,
                ) from error
            self._take_heads(content.get("heads", {}))
        self.average.load_state_dict(self.student.state_dict())

    @property
    def _section(self) -> str:
        """The part of the configuration that has the student's dimensions."""
        return "paper" if self.config.network == "paper" else "model"

    def _resume(self, content: dict[str, Any]) -> None:
        """Go on where a checkpoint stands. Raises ConfigError for one of another run."""
        lost = [name for name in ("optimizer", "spread") if name not in content]
        if lost:
            raise ConfigError(
                f"{self.checkpoint} has weights but not the optimizer's memory, so no run can be "
                "resumed from it. Give the run another name, and this file as start_from.",
                str(self.checkpoint),
            )
        try:
            self.student.load_state_dict(content["student"])
            self.average.load_state_dict(content["average"])
        except RuntimeError as error:
            raise ConfigError(
                f"{self.checkpoint} is a student of another shape than `{self._section}` and "
                "`network` ask for. Give the run another name, or remove that file to begin anew.",
                str(self.checkpoint),
            ) from error
        self._restore_heads(content.get("heads", {}))
        self.step, self.seconds = content["step"], content["seconds"]
        log = content.get("log", {})  # not in checkpoints of before
        self.skipped, self._skipped_in_row = log.get("skipped", 0), log.get("skipped_in_row", 0)
        self._unlogged, self._unlogged_steps = log.get("sums", {}), log.get("steps", 0)
        self.optimizer = make_optimizer(self.objective, self.config.optimizer, self.step - 1)
        try:
            self.optimizer.load_state_dict(content["optimizer"])
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"{self.checkpoint} was trained by another optimizer than optimizer.method "
                f"{self.config.optimizer.method}. Give the run another name, and this file as "
                "start_from.",
                self.config.optimizer.method,
            ) from error
        self.objective.spread = content["spread"].to(self.world.device)

    def _restore_heads(self, heads: dict[str, torch.Tensor]) -> None:
        wanted = self.objective.discarded()
        if set(heads) != set(wanted):
            raise ConfigError(
                f"{self.checkpoint} was made with other losses: its heads are "
                f"{', '.join(sorted(heads)) or 'none'}. Give the run another name, and start_from.",
                None,
            )
        self.objective.load_state_dict(heads, strict=False)

    def _take_heads(self, heads: dict[str, torch.Tensor]) -> None:
        """Begin with the heads of an earlier run, where this one has the like."""
        wanted = self.objective.discarded()
        alike = {k: v for k, v in heads.items() if k in wanted and v.shape == wanted[k].shape}
        self.objective.load_state_dict(alike, strict=False)

    def _measure_statistics(self) -> None:
        """Set the front end's mean and spread, and the spread of teacher frames, from batches."""
        energies, frames = [], []
        front_end = self.student.front_end
        logmel = front_end.logmel if isinstance(front_end, LogMelFrontEnd) else None
        if logmel is None and not self.config.loss.frames:
            return
        for number in range(8):
            batch, generator = self.feed.source.draw(-1 - number & 0x7FFFFFFF, 32, 38)
            damaged = self.feed.augment(batch.pcm, generator).to(self.world.device)
            if logmel is not None:
                left = logmel.init_state(1)["left"].shape[1]
                padded = torch.nn.functional.pad(damaged, (left, 0))
                energies.append(logmel.log_energies(padded).flatten(0, 1))
            frames.append(batch.frames[batch.frames_valid])
        if self.config.loss.frames:
            last = torch.cat(frames)[:, -self.feed.layers[-1] :]
            self.objective.spread = last.std(dim=0).clamp(min=0.2).to(self.world.device)
        if logmel is not None:
            joined = torch.cat(energies)
            within = torch.cat([e - e.mean(dim=0) for e in energies])
            logmel.set_statistics(joined.mean(dim=0), within.std(dim=0))

    def save(self) -> None:
        """Write the checkpoint: all that the run depends on. Only the first process writes."""
        if not self.world.is_first:
            return
        shape = self.config.paper if self.config.network == "paper" else self.config.model
        save_checkpoint(
            self.checkpoint,
            {
                "config": to_mapping(self.config),
                "network": self.config.network,
                "model_config": shape.to_dict(),
                "student": self.student.state_dict(),
                "average": self.average.state_dict(),
                "heads": self.objective.discarded(),
                "optimizer": self.optimizer.state_dict(),
                "spread": self.objective.spread,
                "step": self.step,
                "seconds": self.seconds,
                "log": {
                    "sums": self._unlogged,
                    "steps": self._unlogged_steps,
                    "skipped": self.skipped,
                    "skipped_in_row": self._skipped_in_row,
                },
            },
        )

    def _numbers(self, step: int) -> list[int]:
        """The portions of a step that fall to this process."""
        count = self.config.optimizer.accumulate
        return list(range(step * count + self.world.rank, (step + 1) * count, self.world.size))

    def advance(self) -> dict[str, float]:
        """One step of the optimizer; returns the losses, averaged over processes."""
        config = self.config
        if self.step and self.step == config.optimizer.sgd_after:
            self.optimizer = make_optimizer(self.objective, config.optimizer, self.step)
        rate = learning_rate(config.optimizer, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        numbers = self._numbers(self.step)
        last = min(self.step + config.workers, config.optimizer.steps - 1)
        ahead = [n for s in range(self.step, last + 1) for n in self._numbers(s)]
        sums: dict[str, float] = {}
        for number in numbers:
            is_last = number == numbers[-1]
            for name, value in self._accumulate(number, ahead, len(numbers), is_last).items():
                sums[name] = sums.get(name, 0.0) + value / len(numbers)
        norm = torch.nn.utils.clip_grad_norm_(
            self.objective.parameters(), config.optimizer.clip_norm
        )
        self._take(bool(torch.isfinite(norm)), sums)
        self._update_average()
        self.step += 1
        found = self.world.mean(sums) | {"lr": rate}
        for name, value in found.items():
            self._unlogged[name] = self._unlogged.get(name, 0.0) + value
        self._unlogged_steps += 1
        return found

    def log_row(self) -> dict[str, float]:
        """The step, the means since the row before, and how many steps were skipped so far."""
        means = {name: round(v / self._unlogged_steps, 5) for name, v in self._unlogged.items()}
        self._unlogged, self._unlogged_steps = {}, 0
        return {"step": self.step} | means | {"skipped": self.skipped}

    def _take(self, is_finite: bool, losses: dict[str, float]) -> None:
        """Let the optimizer move, unless the gradient is not finite; ConfigError if it stays so."""
        self.statistics.step(is_finite)
        if is_finite:
            self.optimizer.step()
            self._skipped_in_row = 0
            return
        self.skipped += 1
        self._skipped_in_row += 1
        if self._skipped_in_row >= MOST_SKIPPED:
            bad = [name for name, value in losses.items() if not math.isfinite(value)]
            raise ConfigError(
                f"{MOST_SKIPPED} steps in a row had no finite gradient, the last at step "
                f"{self.step} (not finite: {', '.join(bad) or 'the gradient only'}). Nothing is "
                "learned so; lower optimizer.peak_rate, or leave that loss out. The last "
                "checkpoint is kept.",
                self.step,
            )

    def _accumulate(
        self, number: int, ahead: list[int], share: int, is_last: bool
    ) -> dict[str, float]:
        """Add one portion's gradients, divided by ``share``; processes meet at the last one."""
        portion = self.feed.get(number, ahead)
        torch.manual_seed(self.config.seed * 1_000_003 + number)  # of dropout
        parallel = self.parallel
        waits: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if isinstance(parallel, DistributedDataParallel) and not is_last:
            waits = parallel.no_sync()
        with waits, self.statistics.portion():
            found = parallel(portion.damaged, portion.batch, portion.prefixes)
            weights = self._weights()
            total = torch.stack([weights[name] * value for name, value in found.items()]).sum()
            (total / share).backward()  # type: ignore[no-untyped-call]
        self.seconds += portion.seconds * self.world.size
        return {name: float(value.detach()) for name, value in found.items()}

    def _weights(self) -> dict[str, float]:
        """What each loss is multiplied by at this step."""
        loss = self.config.loss
        progress = self.step / max(1, self.config.optimizer.steps)
        factor = distillation_factor(loss.kd_schedule, loss.kd_final, progress)
        return {name: factor * getattr(loss, name) for name in DISTILLED} | {
            "speaker": loss.speaker
        }

    def _update_average(self) -> None:
        decay = min(self.config.optimizer.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.student.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
            for kept, fresh in zip(self.average.buffers(), self.student.buffers(), strict=True):
                kept.copy_(fresh)


def train(config: TrainConfig, report: Callable[[str], None] = print) -> Path:
    """Run, or go on with, a training; returns the checkpoint's path.

    Writes ``checkpoint.pt``, ``log.jsonl`` and ``losses.png`` into ``run_dir/name``. Killed at any
    moment, the same call goes on from the last checkpoint with the batches that were due. A run
    that is finished is left as it is. A step whose gradient is not finite is skipped, and counted
    as ``skipped`` in the log; ConfigError after 20 in a row.
    """
    trainer = Trainer(config)
    log = trainer.folder / "log.jsonl"
    began, began_step, began_seconds = time.monotonic(), trainer.step, trainer.seconds
    while trainer.step < config.optimizer.steps:
        trainer.advance()
        if trainer.step % config.log_every == 0 and trainer.world.is_first:
            elapsed = time.monotonic() - began
            done = trainer.step - began_step
            row = trainer.log_row()
            row["audio_s_per_s"] = round((trainer.seconds - began_seconds) / elapsed, 1)
            row["left_s"] = round(elapsed / done * (config.optimizer.steps - trainer.step))
            with log.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
            report(json.dumps(row))
        if trainer.step % config.checkpoint_every == 0:
            trainer.save()
    # A checkpoint may have got a fitted last layer since; it belongs to just these weights.
    if trainer.step > began_step:
        trainer.save()
    if trainer.world.is_first:
        plot_run(trainer.folder)
    trainer.world.leave()
    return trainer.checkpoint
