"""Which student frame answers which teacher frame.

A causal student knows at its frame only what it has heard by then, so teacher frame i is paired
with the first student frame whose newest sample is at or after the center of frame i plus a delay:
the student may hear a little further before it answers, and is never asked about the future.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

RATE = 16_000


@dataclasses.dataclass(frozen=True, slots=True)
class FrameGrid:
    """Frames at even distances: the instant of the first, in samples, and samples a frame.

    The instant is the center for a teacher, the newest sample for a student.
    """

    first: float
    stride: float


def pair(teacher: FrameGrid, student: FrameGrid, frames: tuple[int, int], delay: float) -> Tensor:
    """For each student frame, the teacher frame that it answers, or -1.

    ``frames`` (teacher's, student's) how many there are; ``delay`` in samples. Where several
    teacher frames fall to one student frame, it answers the newest. Returns int64
    (student frames,).
    """
    heard, given = frames
    instants = teacher.first + teacher.stride * torch.arange(heard, dtype=torch.float64) + delay
    places = torch.ceil((instants - student.first) / student.stride).clamp(min=0).long()
    answers = torch.full((given,), -1, dtype=torch.int64)
    inside = places < given
    # scatter with "amax" keeps the newest where places repeat
    return answers.scatter_reduce(0, places[inside], torch.arange(heard)[inside], "amax")


def aligned(targets: Tensor, valid: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Teacher frames in the student's order, and where they are worth comparing.

    ``targets`` (batch, teacher frames, features), ``valid`` (batch, teacher frames), ``pairs``
    from :func:`pair`; returns (batch, student frames, features) and (batch, student frames).
    """
    pairs = pairs.to(targets.device)
    chosen = pairs.clamp(min=0)
    return targets[:, chosen], valid[:, chosen] & (pairs >= 0)
