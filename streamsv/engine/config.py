"""Every default of the engine, in one place; ``configs/engine.yaml`` holds the same."""

from __future__ import annotations

import dataclasses
import math

from streamsv.audio.config import GateConfig
from streamsv.errors import ConfigError
from streamsv.scoring.policy import DecisionConfig

_MOST_LOGIT = 4.0  # a hop's log odds of speech are clipped there: streamsv.nn.guard
_LEAST_BELOW_LOUDEST_DB = 6.0
_SHORTEST_STRETCH_S = 0.1
_LONGEST_STRETCH_S = 60.0
_MOST_HOPS_BETWEEN_UPDATES = 750


@dataclasses.dataclass(frozen=True, slots=True)
class GuardConfig:
    """When sound counts as speech.

    Parameters
    ----------
    is_on:
        Whether sound that is not like speech holds a decision back, and neither the background
        nor faint speech decides anything.
    min_speech_logit:
        Mean log odds that the last ten seconds are speech, -4 to 4, below which nothing is decided.
    below_loudest_db:
        How far below the loudest voice of the call a voice is in the background and does not count,
        in dB, at least 6; ``None``: every voice counts.
    min_speech_dbfs:
        Level of the speech below which nothing is decided, in dB of full scale.
    """

    is_on: bool = True
    min_speech_logit: float = 0.75
    below_loudest_db: float | None = 16.0
    min_speech_dbfs: float = -42.0

    def __post_init__(self) -> None:
        if not isinstance(self.is_on, bool):
            raise ConfigError(f"guard.is_on is {self.is_on!r}; use true or false.", self.is_on)
        if not abs(self.min_speech_logit) <= _MOST_LOGIT:
            raise ConfigError(
                f"guard.min_speech_logit must lie between -{_MOST_LOGIT:g} and {_MOST_LOGIT:g}.",
                self.min_speech_logit,
            )
        below = self.below_loudest_db
        if below is not None and not _LEAST_BELOW_LOUDEST_DB <= below < math.inf:
            raise ConfigError(
                f"guard.below_loudest_db must be null or a finite number from "
                f"{_LEAST_BELOW_LOUDEST_DB:g}.",
                below,
            )
        if not math.isfinite(self.min_speech_dbfs):
            raise ConfigError(
                "guard.min_speech_dbfs must be a finite number.", self.min_speech_dbfs
            )


@dataclasses.dataclass(frozen=True, slots=True)
class QualityConfig:
    """When the audio is called poor.

    Parameters
    ----------
    max_clipped_fraction:
        Share of clipped samples in the last second of speech.
    min_snr_db:
        Speech against the rest, in dB.
    min_speech_dbfs:
        Level of the speech, in dB below full scale.
    repeat_s:
        Media time before the same warning is given again.
    """

    max_clipped_fraction: float = 0.01
    min_snr_db: float = 6.0
    min_speech_dbfs: float = -45.0
    repeat_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("min_snr_db", "min_speech_dbfs", "repeat_s"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"quality.{name} must be a finite number.", getattr(self, name))
        if not 0 <= self.max_clipped_fraction <= 1:
            raise ConfigError(
                "quality.max_clipped_fraction is a share, 0 to 1.", self.max_clipped_fraction
            )
        if self.repeat_s < 0:
            raise ConfigError("quality.repeat_s must be 0 or more.", self.repeat_s)


@dataclasses.dataclass(frozen=True, slots=True)
class EnrollmentConfig:
    """What an enrollment needs.

    Parameters
    ----------
    wanted_net_speech_s:
        Net speech that makes a good voiceprint; ``remaining_s`` counts down from here.
    min_net_speech_s:
        Net speech in all below which an enrollment is refused.
    min_recording_s:
        Net speech below which one recording is ``too_short`` and left out.
    min_cohesion:
        Lowest cosine allowed between one recording and the rest. It belongs to the model: with the
        bundled one, 3.7 % of the development sets' true pairs lie below, and 93 % of the others.
    stretch_s:
        Media time between two reports of progress, 0.1 to 60.
    """

    wanted_net_speech_s: float = 12.0
    min_net_speech_s: float = 4.0
    min_recording_s: float = 1.0
    min_cohesion: float = 0.36
    stretch_s: float = 2.0

    def __post_init__(self) -> None:
        for name in ("wanted_net_speech_s", "min_net_speech_s", "min_recording_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"enrollment.{name} must be a finite number above 0.", getattr(self, name)
                )
        if not _SHORTEST_STRETCH_S <= self.stretch_s <= _LONGEST_STRETCH_S:
            raise ConfigError(
                f"enrollment.stretch_s must lie between {_SHORTEST_STRETCH_S} and "
                f"{_LONGEST_STRETCH_S}.",
                self.stretch_s,
            )
        if self.wanted_net_speech_s < self.min_net_speech_s:
            raise ConfigError(
                "enrollment.wanted_net_speech_s must be at least enrollment.min_net_speech_s.",
                self.wanted_net_speech_s,
            )
        if not -1.0 <= self.min_cohesion <= 1.0:
            raise ConfigError("enrollment.min_cohesion is a cosine, -1 to 1.", self.min_cohesion)


@dataclasses.dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine, to the last number.

    Parameters
    ----------
    model, calibration:
        Paths of another model and its calibration; ``None`` for the bundled ones.
    update_every_hops:
        Hops of 80 ms between two ``score_updated``, at most 750 (one minute). Decisions do not
        wait for them.
    candidates_shown:
        In ``identify`` mode, how many of the best candidates a ``score_updated`` carries.
    """

    model: str | None = None
    calibration: str | None = None
    update_every_hops: int = 1
    candidates_shown: int = 5
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    guard: GuardConfig = dataclasses.field(default_factory=GuardConfig)
    decision: DecisionConfig = dataclasses.field(default_factory=DecisionConfig)
    quality: QualityConfig = dataclasses.field(default_factory=QualityConfig)
    enrollment: EnrollmentConfig = dataclasses.field(default_factory=EnrollmentConfig)

    def __post_init__(self) -> None:
        for name in ("update_every_hops", "candidates_shown"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1.", getattr(self, name))
        if self.update_every_hops > _MOST_HOPS_BETWEEN_UPDATES:
            raise ConfigError(
                f"update_every_hops must be at most {_MOST_HOPS_BETWEEN_UPDATES} (one minute).",
                str(self.update_every_hops),
            )
