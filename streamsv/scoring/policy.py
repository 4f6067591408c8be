"""When the evidence is enough: the rule that turns running LLRs into a verdict.

Provisional, and the model card says so: one LLR threshold accepts and one rejects, from a least
amount of net speech on. It promises no error rate for a whole call, so ``promised_error_rate``
is ``None``.
"""

from __future__ import annotations

import dataclasses
import math

from streamsv.errors import ConfigError
from streamsv.events import Reason, Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionConfig:
    """The rule's numbers.

    Parameters
    ----------
    accept_llr, reject_llr:
        Natural-log LLR at or above which a voice is accepted, at or below which rejected.
    min_net_speech_s:
        Net speech before which nothing is decided.

    Raises
    ------
    ConfigError
        If the thresholds cross, or a number is not finite.
    """

    accept_llr: float = 2.0
    reject_llr: float = -2.5
    min_net_speech_s: float = 3.0

    def __post_init__(self) -> None:
        for name in ("accept_llr", "reject_llr", "min_net_speech_s"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"decision.{name} must be a finite number.", getattr(self, name))
        if not self.reject_llr < self.accept_llr:
            raise ConfigError(
                f"decision.reject_llr ({self.reject_llr}) must be below decision.accept_llr "
                f"({self.accept_llr}).",
                self.reject_llr,
            )
        if self.min_net_speech_s < 0:
            raise ConfigError(
                f"decision.min_net_speech_s is {self.min_net_speech_s}; use 0 or more.",
                self.min_net_speech_s,
            )


class ThresholdPolicy:
    """The rule for ``candidates`` voiceprints that are claimed at once.

    Among several candidates of one decision (1:N) the accept threshold rises by ln(candidates),
    which keeps the chance that a stranger passes as *somebody* where it was for one (Bonferroni).
    """

    def __init__(self, config: DecisionConfig, candidates: int = 1) -> None:
        self._config = config
        self.accept_llr = config.accept_llr + math.log(candidates)
        self.reject_llr = config.reject_llr

    @property
    def promised_error_rate(self) -> float | None:
        """The false-accept rate that this rule promises for a whole call: none."""
        return None

    def look(self, llr: float, net_speech_s: float) -> tuple[Verdict, Reason] | None:
        """The verdict at this look, or ``None`` to go on listening.

        ``llr`` is the best candidate's, natural log, after ``net_speech_s`` of speech.
        """
        if net_speech_s < self._config.min_net_speech_s:
            return None
        if llr >= self.accept_llr:
            return Verdict.ACCEPT, Reason.ABOVE_ACCEPT_THRESHOLD
        if llr <= self.reject_llr:
            return Verdict.REJECT, Reason.BELOW_REJECT_THRESHOLD
        return None

    def at_end(self, net_speech_s: float) -> tuple[Verdict, Reason]:
        """What is said when the audio ends and no look decided."""
        if net_speech_s <= 0 or net_speech_s < self._config.min_net_speech_s:
            return Verdict.UNDECIDED, Reason.NOT_ENOUGH_SPEECH
        return Verdict.UNDECIDED, Reason.EVIDENCE_INCONCLUSIVE
