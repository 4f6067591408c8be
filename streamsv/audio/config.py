"""How the gate judges, checked when it is said."""

from __future__ import annotations

import dataclasses
import math

from streamsv.audio.level import FRAME_MS
from streamsv.errors import ConfigError

MAX_HELD_MS = 3000


@dataclasses.dataclass(frozen=True, slots=True)
class GateConfig:
    """How the gate judges; checked when it is made.

    Parameters
    ----------
    mode:
        webrtcvad's aggressiveness, 0 (lets most through) to 3.
    pre_roll_ms:
        Sound admitted before the first frame of speech, a multiple of 30 up to 3000.
    hangover_ms:
        Non-speech after which the gate closes, itself admitted, a multiple of 30 up to 3000.
    onset_frames:
        Consecutive frames of speech that open the gate, at least 1.
    min_level_dbfs:
        A frame whose RMS, its mean removed, is below this is never speech; at most 0.

    Raises
    ------
    ConfigError
        If a value is outside what is listed here.
    """

    mode: int = 2
    pre_roll_ms: int = 30
    hangover_ms: int = 60
    onset_frames: int = 2
    min_level_dbfs: float = -60.0

    def __post_init__(self) -> None:
        if self.mode not in (0, 1, 2, 3):
            raise ConfigError(f"gate.mode is {self.mode!r}. Use 0, 1, 2 or 3.", self.mode)
        for name in ("pre_roll_ms", "hangover_ms"):
            value = getattr(self, name)
            if not isinstance(value, int) or value % FRAME_MS or not 0 <= value <= MAX_HELD_MS:
                raise ConfigError(
                    f"gate.{name} is {value!r}. Use 0 or a multiple of {FRAME_MS} up to "
                    f"{MAX_HELD_MS}.",
                    str(value),
                )
        if not isinstance(self.onset_frames, int) or self.onset_frames < 1:
            raise ConfigError(
                f"gate.onset_frames is {self.onset_frames!r}. Use a whole number from 1.",
                self.onset_frames,
            )
        level = self.min_level_dbfs
        if not isinstance(level, int | float) or not math.isfinite(level) or level > 0:
            raise ConfigError(
                f"gate.min_level_dbfs is {level!r}. Use 0 or a negative number.", level
            )
