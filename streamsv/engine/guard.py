"""What is no speech is no evidence: tones, music and noise that pass the gate are held back.

A model may carry a speech head, fitted to it by ``python -m training.guard``, which hears every hop
with the network's own ears. In the network's state it keeps decaying sums of its log odds of
speech, each clipped to +-4 so that no moment outweighs the others, and of the hops that they are
of: their quotient is the mean of the last ten seconds or so. Below a least mean nobody looks at
the score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from streamsv.errors import ConfigError

if TYPE_CHECKING:
    from streamsv.encoder import Encoder

HEARD = "guard.heard"
"""Where the sums stand in the network's state: (1, 1, 2), of log odds and of hops."""

_MOST_LOGIT = 4.0
_SURE_HOPS = 13
"""A second of sound."""


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


class SpeechGuard:
    """Whether what one stream was heard to say of late is speech at all."""

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._hops = 0
        self._logit = 0.0

    @classmethod
    def of(cls, encoder: Encoder, config: GuardConfig) -> SpeechGuard | None:
        """The guard of one stream; ``None`` if the model has no speech head or it is off."""
        return cls(config) if config.is_on and HEARD in encoder.state_names else None

    def hear(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the network's state after one more hop of the stream."""
        ((logits, hops),) = state[HEARD][0].tolist()
        self._logit = logits / hops
        self._hops += 1

    @property
    def speech_logit(self) -> float | None:
        """Mean log odds of speech over the last ten seconds, ``None`` before the first hop."""
        return self._logit if self._hops else None

    @property
    def is_surely_no_speech(self) -> bool:
        """Whether after a second of sound or more speech is clearly the less likely."""
        return self._hops >= _SURE_HOPS and self._logit < -1.0

    @property
    def is_speech(self) -> bool:
        """Whether a decision may rest on what was heard; not before the first hop of it."""
        return self._hops > 0 and self._logit >= self._config.min_speech_logit
