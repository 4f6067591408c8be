"""Fit the speech head: ``python -m training.guard DATA_DIR CHECKPOINT -o HEAD.pt``.

DATA_DIR holds ``train/train.tsv`` and ``noise/noise.tsv``; CHECKPOINT is that of a student, which
stays as it is. Clips of speech and of what is none (`training.guard_clips`) go through the gate
and the student; the head (`streamsv.nn.guard`) learns from its hidden layers. Each fold is judged
by a head that has not heard it, and the head that is written has heard all of them. The file is
for ``python -m training export ... --head HEAD.pt``.

The same seed gives the same head, whatever the number of processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from streamsv.audio import Speech, SpeechGate
from streamsv.engine.config import GuardConfig
from streamsv.nn.config import HOP_FRAMES, HOP_SAMPLES
from streamsv.nn.export import fingerprint
from streamsv.nn.guard import MOST_LOGIT, PRIOR_HOPS, HeadConfig, SpeechHead, save_head
from streamsv.nn.student import Student
from training.checkpoint import load_student
from training.guard_clips import FOLDS, Clip, Sound, made, planned, rooms_of

MOST_HOPS = 125
"""What is heard of a clip at most: ten seconds of net sound."""

_COMPONENTS = 96
_EPOCHS = 12
_BATCH = 32
_RATE = 4e-3
_LEAST_HOPS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What the student made of clips: ``hops`` (clips, MOST_HOPS, features) float16, the means of
    the layers over each hop; how many hops there are, (clips,); and the share of speech in each,
    (clips, MOST_HOPS).
    """

    hops: Tensor
    counts: Tensor
    speech: Tensor


def admitted(sound: Sound) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What passes the gate, in whole hops (hops, HOP_SAMPLES), and the share of speech in each."""
    parts = [part for part in SpeechGate().push(sound.pcm) if isinstance(part, Speech)]
    pcm = np.concatenate([np.zeros(0, np.float32), *(part.pcm for part in parts)])
    labels = [sound.is_speech[p.end_position - len(p.pcm) : p.end_position] for p in parts]
    is_speech = np.concatenate([np.zeros(0, np.bool_), *labels])
    hops = min(len(pcm) // HOP_SAMPLES, MOST_HOPS)
    whole = hops * HOP_SAMPLES
    share = is_speech[:whole].reshape(hops, HOP_SAMPLES).mean(axis=1, dtype=np.float32)
    return pcm[:whole].reshape(hops, HOP_SAMPLES), share


@torch.no_grad()
def layers(student: Student, pcm: Tensor, taps: Sequence[int]) -> Tensor:
    """The hidden layers ``taps`` of PCM (hops, HOP_SAMPLES), the mean of each hop, side by side."""
    y = student.front_end(pcm.reshape(1, -1, 1))
    hidden = [y]
    for block in list(student.blocks)[: max(taps)]:
        hidden.append(block(hidden[-1]))
    frames = torch.cat([hidden[tap] for tap in taps], dim=2)[0]
    return frames.reshape(len(pcm), HOP_FRAMES, -1).mean(dim=1)


_process: dict[str, object] = {}


def _begin(checkpoint: Path, data: Path) -> None:
    torch.set_num_threads(1)
    _process.update(student=load_student(checkpoint), rooms=rooms_of(data))


def _hear(taps: tuple[int, ...], clip: Clip) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    student, rooms = _process["student"], _process["rooms"]
    pcm, share = admitted(made(clip, rooms))  # type: ignore[arg-type]
    if not len(pcm):
        return np.zeros((0, 0), np.float16), share
    heard = layers(student, torch.from_numpy(pcm), taps)  # type: ignore[arg-type]
    return heard.numpy().astype(np.float16), share


def heard_by_all(
    clips: Sequence[Clip], checkpoint: Path, data: Path, config: HeadConfig, processes: int
) -> Heard:
    """Every clip through the gate and the student, in several processes."""
    features = len(config.taps) * config.dim
    hops = torch.zeros(len(clips), MOST_HOPS, features, dtype=torch.float16)
    counts, speech = torch.zeros(len(clips), dtype=torch.long), torch.zeros(len(clips), MOST_HOPS)
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _begin, (checkpoint, data)) as pool:
        heard = pool.imap(functools.partial(_hear, config.taps), clips, chunksize=16)
        for number, (found, share) in enumerate(heard):
            counts[number] = len(share)
            hops[number, : len(share)] = torch.from_numpy(found.reshape(len(share), features))
            speech[number, : len(share)] = torch.from_numpy(share)
    return Heard(hops, counts, speech)


def _weights(clips: Sequence[Clip], counts: Tensor) -> Tensor:
    """What a hop of each clip weighs, (clips,): speech and the rest the same.

    Among the rest a kind weighs by the root of its clips, so that neither a rare kind is drowned
    nor one of which little passes the gate.
    """
    hops: dict[str, float] = defaultdict(float)
    of_kind: dict[str, int] = defaultdict(int)
    for clip, count in zip(clips, counts.tolist(), strict=True):
        hops[clip.kind] += count
        of_kind[clip.kind] += count > 0
    roots = {kind: clips**0.5 for kind, clips in of_kind.items() if kind != "speech"}
    rest = sum(roots.values())
    share = {kind: root / rest for kind, root in roots.items()} | {"speech": 1.0}
    each = {kind: share[kind] * sum(hops.values()) / max(hops[kind], 1.0) for kind in hops}
    return torch.tensor([each[clip.kind] for clip in clips], dtype=torch.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """A map of features to fewer, ``x @ weight + bias``: (features, components)."""

    weight: Tensor
    bias: Tensor


def _components(heard: Heard) -> _Components:
    """The principal components of the features, their spread evened out half way.

    The head sees no more of them in training, which then takes a fifth of the time; afterwards
    they are folded into its first layer.
    """
    rows = torch.cat([heard.hops[i, : heard.counts[i] : 2] for i in range(0, len(heard.counts), 3)])
    x = rows.float()
    center, scale = x.mean(dim=0), x.std(dim=0) + 1e-3
    x = (x - center) / scale
    spread, directions = torch.linalg.eigh(x.t() @ x / len(x))
    size = min(_COMPONENTS, x.shape[1])
    weight = directions[:, -size:] / spread[-size:].clamp(min=1e-3) ** 0.25 / scale[:, None]
    return _Components(weight, -(center @ weight))


def fit(clips: Sequence[Clip], heard: Heard, config: HeadConfig, seed: int = 0) -> SpeechHead:
    """A head by AdamW, from cross-entropy on hops and on what the guard would say at moments."""
    components = _components(heard)
    hops = torch.cat(
        [part.float() @ components.weight + components.bias for part in torch.split(heard.hops, 64)]
    )
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    counts, weights = heard.counts, _weights(clips, heard.counts)
    whole = weights * torch.tensor([float(clip.kind != "turns") for clip in clips])
    usable = torch.nonzero(counts >= _LEAST_HOPS)[:, 0].numpy()
    head = SpeechHead(dataclasses.replace(config, taps=(0,), dim=hops.shape[2]))
    optimizer = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=0.02)
    batches = max(len(usable) // _BATCH, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=_EPOCHS * batches + 1, pct_start=0.15
    )
    for _ in range(_EPOCHS):
        order = torch.from_numpy(generator.permutation(usable))
        for picked in torch.split(order, _BATCH)[:batches]:
            longest = int(counts[picked].max())
            before = head.typical.relu()[None].expand(len(picked), -1, -1)
            logits = head.judged(hops[picked, :longest], before)[0][:, :, 0]
            speech = heard.speech[picked, :longest]
            loss = _loss(logits, speech, counts[picked], weights[picked])
            loss = loss + 0.5 * _guard_loss(logits, speech, counts[picked], whole[picked])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return _unfolded(head, components, config)


@torch.no_grad()
def _unfolded(head: SpeechHead, components: _Components, config: HeadConfig) -> SpeechHead:
    """``head``, which hears components, as one that hears the layers themselves."""
    found = SpeechHead(config)
    weights = head.state_dict() | {
        "draw.weight": head.draw.weight @ components.weight.t(),
        "draw.bias": head.draw.bias + head.draw.weight @ components.bias,
        "typical": head.typical.relu(),
    }
    found.load_state_dict(weights)
    return found.eval()


def _is_heard(logits: Tensor, counts: Tensor) -> Tensor:
    return (torch.arange(logits.shape[1]) < counts[:, None]).float()


def _loss(logits: Tensor, speech: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
    weight = _is_heard(logits, counts) * weights[:, None]
    each = F.binary_cross_entropy_with_logits(logits, speech, reduction="none")
    return (each * weight).sum() / weight.sum()


def _guard_loss(logits: Tensor, speech: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the mean log odds less the guard's least, at thirds of each clip."""
    is_heard = _is_heard(logits, counts)
    bound = MOST_LOGIT * torch.tanh(logits / MOST_LOGIT) * is_heard
    means = bound.cumsum(dim=1) / (PRIOR_HOPS + is_heard.cumsum(dim=1))
    least = GuardConfig().min_speech_logit
    loss = logits.new_zeros(())
    for third in (1, 2, 3):
        moments = (counts * third // 3 - 1).clamp(min=0)[:, None]
        sure = 2 * (means.gather(1, moments) - least)[:, 0]
        label = speech.gather(1, moments)[:, 0]
        each = F.binary_cross_entropy_with_logits(sure, label, reduction="none")
        loss = loss + (each * weights).sum() / weights.sum().clamp(min=1e-6) / 3
    return loss


@torch.no_grad()
def judged(head: SpeechHead, heard: Heard) -> Tensor:
    """The guard's mean log odds at the end of each clip, (clips,); -4 for one without a hop."""
    found = []
    for hops, counts in zip(
        torch.split(heard.hops, 64), torch.split(heard.counts, 64), strict=True
    ):
        frames = hops.float().repeat_interleave(HOP_FRAMES, dim=1)
        means, _ = head.step(frames, head.init_state(len(hops)))
        ends = means.gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0]
        found.append(torch.where(counts > 0, ends, -MOST_LOGIT))
    return torch.cat(found)


def _begin_fit(clips: Sequence[Clip], heard: Heard, config: HeadConfig) -> None:
    torch.set_num_threads(1)
    _process.update(fit=functools.partial(_fit_without, clips, heard, config))


def _fit_in_process(fold: int) -> SpeechHead:
    return _process["fit"](fold)  # type: ignore[operator, no-any-return]


def _fit_without(clips: Sequence[Clip], heard: Heard, config: HeadConfig, fold: int) -> SpeechHead:
    """The head that has heard every fold but one; there is nothing in fold `FOLDS`."""
    rows = [number for number, clip in enumerate(clips) if clip.fold != fold]
    return fit([clips[number] for number in rows], _part(heard, rows), config)


def _part(heard: Heard, numbers: Sequence[int]) -> Heard:
    rows = torch.tensor(numbers, dtype=torch.long)
    return Heard(heard.hops[rows], heard.counts[rows], heard.speech[rows])


def fitted(
    clips: Sequence[Clip], heard: Heard, config: HeadConfig, processes: int
) -> tuple[SpeechHead, dict[str, dict[str, float]]]:
    """The head of all clips; and by kind how many clips there are, and the percentage of them
    that the guard lets through at their end, by heads that have not heard them.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _begin_fit, (clips, heard, config)) as pool:
        *folds, head = pool.map(_fit_in_process, range(FOLDS + 1), chunksize=1)
    means = [0.0] * len(clips)
    for fold, judge in enumerate(folds):
        rows = [number for number, clip in enumerate(clips) if clip.fold == fold]
        for number, mean in zip(rows, judged(judge, _part(heard, rows)).tolist(), strict=True):
            means[number] = mean
    kinds: dict[str, list[bool]] = defaultdict(list)
    for clip, mean in zip(clips, means, strict=True):
        kinds[clip.kind].append(mean >= GuardConfig().min_speech_logit)
    found = {
        kind: {"clips": len(passed), "pass_percent": round(100 * float(np.mean(passed)), 1)}
        for kind, passed in sorted(kinds.items())
    }
    return head, found


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the clips, judge each fold by the others, fit on all and write the head."""
    parser = argparse.ArgumentParser(prog="python -m training.guard", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--every", type=int, default=1, help="take every n-th clip only, to try it out"
    )
    chosen = parser.parse_args(arguments)
    student = load_student(chosen.checkpoint)
    config = HeadConfig(dim=student.config.dim)
    clips = planned(chosen.data, chosen.seed)[:: chosen.every]
    heard = heard_by_all(clips, chosen.checkpoint, chosen.data, config, chosen.processes)
    head, found = fitted(clips, heard, config, chosen.processes)
    for kind, numbers in found.items():
        line = f"{kind:24s} {numbers['clips']:5.0f} clips, {numbers['pass_percent']:5.1f} % pass"
        print(line, flush=True)  # noqa: T201
    head.student = fingerprint(student)
    head.fitted_on = {"method": "python -m training.guard", "cross_validated": found}
    save_head(head, chosen.output)


if __name__ == "__main__":
    main()
