"""What a teacher makes of a clip."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from torch import Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """A teacher's answer to a batch of clips.

    Attributes
    ----------
    embedding:
        (batch, dimension), not length-normalized, or ``None`` from a teacher of frames only.
    layers:
        Frame-level hidden states, each (batch, frames, features), in the order asked for.
    frame_rate:
        Frames a second.
    first_center_s:
        Where the center of the first frame lies, in seconds from the first sample.
    """

    embedding: Tensor | None
    layers: tuple[Tensor, ...]
    frame_rate: float = 50.0
    first_center_s: float = 0.0125


class Teacher(Protocol):
    """Any network that can be imitated. It is frozen: nothing of it is trained."""

    name: str

    def hear(self, pcm: Tensor) -> Heard:
        """``pcm`` float32 (batch, samples), 16 kHz, in [-1, 1], all clips of one length."""
        ...
