"""What is no speech is no evidence: tones, music and noise that pass the gate are held back.

A model may carry a speech head, fitted to it by ``python -m training.guard``, which hears every hop
with the network's own ears. In the network's state it keeps decaying sums of its log odds of
speech, each clipped to +-4 so that no moment outweighs the others, and of the hops that they are
of: their quotient is the mean of the last ten seconds or so. Below a least mean nobody looks at
the score, nor while the last second alone is below one of its own. What is surely no speech is
forgotten besides (`streamsv.engine.forgetting`).
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from streamsv.engine.config import GuardConfig

if TYPE_CHECKING:
    from streamsv.encoder import Encoder

HEARD = "guard.heard"
"""Where the sums stand in the network's state: (1, 1, 2), of log odds and of hops."""

RECENT_HOPS = 12
"""A second of sound, whose mean log odds tell what is heard right now."""

_SURE_HOPS = 13

_LEAST_RECENT_LOGIT = 1.5
"""Mean log odds of the last second below which nobody looks at the score either: what has just
begun shows there first."""

_LEAST_TO_DECIDE = 80.0
"""Sum of the log odds below which nothing is decided: twenty hops that are surely speech, or more
that are less so. A melody can sound like speech for a second: mostly like no voice at all, so that
a rejection is what would come of it, and now and then like somebody's."""


class SpeechGuard:
    """Whether what one stream was heard to say of late is speech at all.

    Attributes
    ----------
    recent_logit:
        Mean log odds of speech over the last second, as far back as :meth:`begin` at most.
    """

    __slots__ = ("_config", "_hops", "_recent", "_sums", "recent_logit")

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._hops = 0
        self._sums = (0.0, 1.0)
        self._recent: collections.deque[float] = collections.deque(maxlen=RECENT_HOPS)
        self.recent_logit = 0.0

    @classmethod
    def of(
        cls, encoder: Encoder, config: GuardConfig, initial: Mapping[str, NDArray[Any]]
    ) -> SpeechGuard | None:
        """The guard of one stream that begins with the state ``initial``; ``None`` if the model
        has no speech head or it is off.
        """
        if not config.is_on or HEARD not in encoder.state_names:
            return None
        guard = cls(config)
        guard.begin(initial)
        return guard

    def begin(self, state: Mapping[str, NDArray[Any]]) -> None:
        """What comes next is heard from the network's ``state`` on, which is not of a hop heard."""
        ((logits, hops),) = state[HEARD][0].tolist()
        self._sums = logits, hops
        self._recent.clear()
        self.recent_logit = 0.0

    def hear(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the network's state after one more hop of the stream."""
        ((logits, hops),) = state[HEARD][0].tolist()
        before, hops_before = self._sums
        # Both sums decay by the same factor, and the hop itself adds 1 to that of the hops.
        recent = self._recent
        recent.append(logits - before * (hops - 1.0) / hops_before)
        self.recent_logit = sum(recent) / len(recent)
        self._sums = logits, hops
        self._hops += 1

    @property
    def latest_logit(self) -> float:
        """Log odds of speech of the latest hop, 0 before the first."""
        return self._recent[-1] if self._recent else 0.0

    @property
    def speech_logit(self) -> float | None:
        """Mean log odds of speech over the last ten seconds, ``None`` before the first hop."""
        return self._sums[0] / self._sums[1] if self._hops else None

    @property
    def is_surely_no_speech(self) -> bool:
        """Whether after a second of sound or more speech is clearly the less likely."""
        return self._hops >= _SURE_HOPS and self._sums[0] < -self._sums[1]

    @property
    def is_speech(self) -> bool:
        """Whether a decision may rest on what was heard; not before the first hop of it."""
        logits, hops = self._sums
        return self._hops > 0 and logits >= self._config.min_speech_logit * hops

    @property
    def is_speech_now(self) -> bool:
        """Whether the last second is speech, too."""
        return self.recent_logit >= _LEAST_RECENT_LOGIT

    @property
    def is_enough_to_decide(self) -> bool:
        """Whether there is enough of it for a decision."""
        return self._sums[0] >= _LEAST_TO_DECIDE
