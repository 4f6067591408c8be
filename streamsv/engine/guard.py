"""What is no speech is no evidence: tones, music and noise that pass the gate are held back.

A small network (63 measures, 16 hidden units, one logit) hears every 320 ms whether the last two
seconds of admitted sound were speech. It is fitted on sound alone, not on any speaker model, by
``python -m training.guard``. The logits, clipped to +-4 so that no moment outweighs the others,
are averaged over the last ten seconds or so; below a least mean nobody looks at the score.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE
from streamsv.audio.likeness import MEASURES, STEP_SAMPLES, LikenessMeter
from streamsv.errors import ConfigError

FORMAT = "streamsv-guard"
VERSION = 1

_MOST_LOGIT = 4.0
_MOST_DEVIATIONS = 6.0
_TIME_CONSTANT_S = 10.0
_PRIOR_STEPS = 2.0
"""So many steps with even odds are counted in advance: one lucky moment is no speech."""

_SURE_STEPS = 4

_KEEP = math.exp(-STEP_SAMPLES / SAMPLE_RATE / _TIME_CONSTANT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class GuardConfig:
    """When sound counts as speech.

    Parameters
    ----------
    is_on:
        Whether sound that is not like speech holds a decision back.
    min_speech_logit:
        Mean log odds that the last ten seconds are speech, -4 to 4, below which nothing is decided.
    """

    is_on: bool = True
    min_speech_logit: float = 0.75

    def __post_init__(self) -> None:
        if not isinstance(self.is_on, bool):
            raise ConfigError(f"guard.is_on is {self.is_on!r}; use true or false.", self.is_on)
        if not abs(self.min_speech_logit) <= _MOST_LOGIT:
            raise ConfigError(
                f"guard.min_speech_logit must lie between -{_MOST_LOGIT:g} and {_MOST_LOGIT:g}.",
                self.min_speech_logit,
            )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SpeechJudge:
    """The fitted network: immutable, shared by all sessions.

    Parameters
    ----------
    center, scale:
        Mean and deviation of each measure, (measures,).
    inward, inward_bias:
        (hidden, measures) and (hidden,).
    outward, outward_bias:
        (hidden,) and a number.
    fitted_on:
        What it was fitted on, for the reader.
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    inward: NDArray[np.float64]
    inward_bias: NDArray[np.float64]
    outward: NDArray[np.float64]
    outward_bias: float
    fitted_on: dict[str, Any] = dataclasses.field(default_factory=dict)

    def logit(self, measures: NDArray[np.float64]) -> float:
        """Log odds of speech against what is none, in [-4, 4], for measures (measures,)."""
        standard = (measures - self.center) / self.scale
        standard = np.clip(standard, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)
        hidden = np.tanh(self.inward @ standard + self.inward_bias)
        value = float(self.outward @ hidden) + self.outward_bias
        return min(max(value, -_MOST_LOGIT), _MOST_LOGIT)

    def save(self, path: Path) -> None:
        """Write it as JSON, six digits a number."""
        content: dict[str, Any] = {"format": FORMAT, "version": VERSION}
        for name in ("center", "scale", "inward", "inward_bias", "outward"):
            values = np.asarray(getattr(self, name))
            content[name] = [float(f"{value:.6g}") for value in values.ravel()]
        content |= {"outward_bias": self.outward_bias, "fitted_on": self.fitted_on}
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> SpeechJudge:
        """Read what `save` wrote. Raises ConfigError, naming the file, for anything else."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise ConfigError(
                    f"{path} is not a speech guard of version {VERSION}.", content["format"]
                )
            parts = {
                name: np.array(content[name], np.float64)
                for name in ("center", "scale", "inward", "inward_bias", "outward")
            }
            hidden = len(parts["outward"])
            parts["inward"] = parts["inward"].reshape(hidden, MEASURES)
            parts["center"] = parts["center"].reshape(MEASURES)
            parts["scale"] = parts["scale"].reshape(MEASURES)
            parts["inward_bias"] = parts["inward_bias"].reshape(hidden)
            bias, fitted_on = float(content["outward_bias"]), dict(content["fitted_on"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} cannot be read as a speech guard: {error}.") from error
        is_sound = all(np.isfinite(values).all() for values in parts.values())
        if not (is_sound and math.isfinite(bias) and np.all(parts["scale"] > 0)):
            raise ConfigError(f"{path} holds numbers that no speech guard has.", str(path))
        return cls(**parts, outward_bias=bias, fitted_on=fitted_on)


class SpeechGuard:
    """Whether what one stream was heard to say of late is speech at all."""

    def __init__(self, judge: SpeechJudge, config: GuardConfig) -> None:
        self._judge = judge
        self._config = config
        self._meter = LikenessMeter()
        self._held: list[NDArray[np.float32]] = []
        self._held_samples = 0
        self._sum = 0.0
        self._weight = _PRIOR_STEPS
        self._steps = 0

    def hear(self, pcm: NDArray[np.float32]) -> None:
        """Take more of the admitted sound: float32 (samples,), 16 kHz; fractions of a step wait."""
        self._held.append(pcm)
        self._held_samples += len(pcm)
        if self._held_samples < STEP_SAMPLES:
            return
        heard = np.concatenate(self._held)
        whole = len(heard) - len(heard) % STEP_SAMPLES
        for step in heard[:whole].reshape(-1, STEP_SAMPLES):
            self._add(self._judge.logit(self._meter.measure(step)))
        self._held, self._held_samples = [heard[whole:]], len(heard) - whole

    def _add(self, logit: float) -> None:
        self._sum = self._sum * _KEEP + logit
        self._weight = self._weight * _KEEP + 1.0
        self._steps += 1

    @property
    def speech_logit(self) -> float | None:
        """Mean log odds of speech over the last ten seconds, ``None`` before the first 320 ms."""
        return self._sum / self._weight if self._steps else None

    @property
    def is_surely_no_speech(self) -> bool:
        """Whether after a second of sound or more speech is clearly the less likely."""
        is_heard = self._config.is_on and self._steps >= _SURE_STEPS
        return is_heard and self._sum / self._weight < -1.0

    @property
    def is_speech(self) -> bool:
        """Whether a decision may rest on what was heard; not before 320 ms of it."""
        if not self._config.is_on:
            return True
        logit = self.speech_logit
        return logit is not None and logit >= self._config.min_speech_logit
