"""The speech head: is what passes the gate speech at all, by what the student hears of it anyway.

A few numbers of each hop are drawn from hidden layers of the student, whose weights stay as they
are. What tells speech from tones, music, noise and one vowel said again and again is less what a
hop sounds like than how that moves, so the head keeps means of these numbers over short and long
times, and of how far they stray from these means, and judges by both. Its state lies beside the
student's, under ``guard.``; it is no part of the student, nor of its fingerprint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsv.config import from_mapping, to_mapping
from streamsv.errors import ConfigError, ModelLoadError, ModelMismatch
from streamsv.nn.config import HOP_FRAMES, HOP_SAMPLES
from streamsv.nn.frontend import SAMPLE_RATE
from streamsv.nn.products import is_exporting
from streamsv.nn.streaming import State, Streaming

MOST_LOGIT = 4.0
"""The log odds of a hop are bounded, so that no moment outweighs the others."""

MEAN_S, PRIOR_HOPS = 10.0, 8.0
"""The time constant of the mean that decisions rest on; so many hops of even odds are counted in
advance, because one lucky moment is no speech."""

_HOP_S = HOP_SAMPLES / SAMPLE_RATE


def _kept(time_constant_s: float) -> float:
    return math.exp(-_HOP_S / time_constant_s)


@dataclasses.dataclass(frozen=True, slots=True)
class HeadConfig:
    """The shape of a speech head.

    Attributes
    ----------
    taps:
        The student's hidden layers that it hears: 0 is the front end's output, k that of block k.
    dim:
        Their width.
    measures:
        How many numbers are drawn from a hop.
    memory_s:
        Time constants of their means, in seconds.
    hidden:
        Hidden units of the judgment.
    """

    taps: tuple[int, ...] = (1, 3)
    dim: int = 256
    measures: int = 32
    memory_s: tuple[float, ...] = (0.4, 2.0)
    hidden: int = 32

    def __post_init__(self) -> None:
        if not self.taps or min(self.taps) < 0 or len(set(self.taps)) < len(self.taps):
            raise ConfigError("head.taps must be different layers, counted from 0.", str(self.taps))
        if min(self.dim, self.measures, self.hidden) < 1:
            raise ConfigError("head.dim, head.measures and head.hidden must be at least 1.")
        if not self.memory_s or min(self.memory_s) <= 0:
            raise ConfigError("head.memory_s must be seconds above 0.", str(self.memory_s))


class SpeechHead(Streaming):
    """Hidden layers of each hop to the mean log odds that the last ten seconds are speech.

    ``x`` is (batch, 4 hops, taps * dim), the layers of ``config.taps`` side by side; the output
    is (batch, hops).

    Attributes
    ----------
    student:
        The fingerprint of the student that it was fitted to.
    fitted_on:
        What it was fitted on and how it did, for the reader.
    """

    stride = HOP_FRAMES
    receptive_field = None

    keep: Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.student = ""
        self.fitted_on: dict[str, Any] = {}
        spans = len(config.memory_s)
        self.size = 2 * spans * config.measures
        self.draw = nn.Linear(len(config.taps) * config.dim, config.measures)
        self.inward = nn.Linear(self.size, config.hidden)
        self.outward = nn.Linear(config.hidden, 1)
        self.typical = nn.Parameter(torch.zeros(spans, 2 * config.measures))
        keep = torch.tensor([_kept(seconds) for seconds in config.memory_s])
        self.register_buffer("keep", keep[:, None], persistent=False)

    def init_state(self, batch: int) -> State:
        """``moments`` (batch, spans, 2 measures), those of typical speech: means, and mean
        absolute deviations from them; ``heard`` (batch, 1, 2), decaying sums of log odds and of
        hops.
        """
        prior = torch.tensor([0.0, PRIOR_HOPS], device=self.typical.device)
        return {
            "moments": self.zeros(batch, *self.typical.shape) + self.typical.detach(),
            "heard": self.zeros(batch, 1, 2) + prior,
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, 4 hops, taps * dim) -> (batch, hops)."""
        batch, frames, features = x.shape
        if is_exporting():
            return self._one_hop(x.mean(dim=1), state)
        hops = x.float().reshape(batch, frames // HOP_FRAMES, HOP_FRAMES, features).mean(dim=2)
        logits, moments = self.judged(hops, state["moments"])
        heard = _decayed(_with_count(bounded(logits)), state["heard"], _kept(MEAN_S))
        following = {"moments": moments, "heard": heard[:, -1:]}
        return heard[:, :, 0] / heard[:, :, 1], following

    def judged(self, hops: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds of each hop, (batch, hops, 1), not bounded, and the moments after the last.

        ``hops`` (batch, hops, taps * dim) are the means over the frames of each hop.
        """
        drawn = torch.relu(self.draw(hops))
        found = []
        for span, keep in enumerate(map(_kept, self.config.memory_s)):
            mean, deviation = before[:, span : span + 1].chunk(2, dim=2)
            means = _decayed(drawn * (1 - keep), mean, keep)
            strays = torch.abs(drawn - torch.cat([mean, means[:, :-1]], dim=1))
            found += [means, _decayed(strays * (1 - keep), deviation, keep)]
        moments = torch.cat(found, dim=2)
        last = moments[:, -1].reshape(before.shape)
        return self.outward(torch.relu(self.inward(moments))), last

    def _one_hop(self, hop: Tensor, state: State) -> tuple[Tensor, State]:
        """The same for one hop (batch, taps * dim), in few operators, for the exported graph."""
        drawn = torch.relu(self.draw(hop))[:, None]
        mean, deviation = state["moments"].chunk(2, dim=2)
        offset = drawn - mean
        pull = torch.cat([offset, torch.abs(offset) - deviation], dim=2)
        moments = state["moments"] + pull * (1 - self.keep)
        hidden = torch.relu(self.inward(moments.reshape(-1, self.size)))
        logit = bounded(self.outward(hidden))
        heard = state["heard"] * _kept(MEAN_S) + _with_count(logit[:, None])
        return heard[:, :, 0] / heard[:, :, 1], {"moments": moments, "heard": heard}


def bounded(logits: Tensor) -> Tensor:
    """Log odds as they count."""
    return torch.clamp(logits, -MOST_LOGIT, MOST_LOGIT)


def _with_count(logits: Tensor) -> Tensor:
    """(batch, hops, 1) -> (batch, hops, 2): beside each what it counts."""
    return F.pad(logits, (0, 1), value=1.0)


def _decayed(x: Tensor, before: Tensor, keep: float) -> Tensor:
    """s[t] = keep s[t - 1] + x[t] from s[-1] = ``before`` (batch, 1, features), for all hops."""
    hops = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
    age = hops[:, None] - hops
    weights = torch.where(age >= 0, keep ** age.clamp(min=0), 0.0)
    return torch.matmul(weights, x) + before * (keep ** (hops + 1))[:, None]


def digest(head: SpeechHead) -> str:
    """SHA-256 of a head's shape and weights, as `streamsv.nn.export.fingerprint` of a student."""
    found = hashlib.sha256(json.dumps(to_mapping(head.config), sort_keys=True).encode())
    for name, tensor in sorted(head.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return found.hexdigest()


def check_student(head: SpeechHead, fingerprint: str) -> None:
    """Raise ModelMismatch unless ``head`` was fitted to the student with ``fingerprint``."""
    if head.student != fingerprint:
        raise ModelMismatch(
            f"The speech head was fitted to the student {head.student}, this one is "
            f"{fingerprint}. Fit another with `python -m training.guard`, or leave the head out.",
            fingerprint,
        )


def save_head(head: SpeechHead, path: Path) -> None:
    """Write shape, weights, the student's fingerprint and what it was fitted on."""
    content = {
        "head": to_mapping(head.config),
        "weights": head.state_dict(),
        "student": head.student,
        "fitted_on": head.fitted_on,
    }
    torch.save(content, path)


def load_head(path: Path) -> SpeechHead:
    """Read what :func:`save_head` wrote. Raises ModelLoadError for anything else."""
    try:
        content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        head = SpeechHead(from_mapping(HeadConfig, content["head"], "head"))
        head.load_state_dict(content["weights"])
        head.student, head.fitted_on = str(content["student"]), dict(content["fitted_on"])
    except Exception as error:  # of torch, pickle and the file system: they share no base
        raise ModelLoadError(
            f"{path} cannot be read as a speech head: {error}. Fit one with "
            "`python -m training.guard`.",
            str(path),
        ) from error
    return head.eval()
