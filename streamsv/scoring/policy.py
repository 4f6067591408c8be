"""When the evidence is enough: the rule that turns running LLRs into a verdict.

The error that is promised is that of the whole call: however often the score is looked at, a
stranger is accepted at any look of one call with at most that chance
(`streamsv.scoring.rules`). After ``max_net_speech_s`` no look accepts any more, so patience does
not win. A caller who sets thresholds of their own gets them, and no promise.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

from streamsv.errors import ConfigError
from streamsv.events import Reason, Verdict
from streamsv.scoring.calibration import Calibration
from streamsv.scoring.rules import RATES, Boundary, StoppingRule, rate_to_fit, speakers_needed

Decision = tuple[Verdict, Reason]

_ACCEPT = (Verdict.ACCEPT, Reason.ABOVE_ACCEPT_THRESHOLD)
_REJECT = (Verdict.REJECT, Reason.BELOW_REJECT_THRESHOLD)
_UNDECIDED = (Verdict.UNDECIDED, Reason.EVIDENCE_INCONCLUSIVE)
_TOO_SHORT = (Verdict.UNDECIDED, Reason.NOT_ENOUGH_SPEECH)


@dataclasses.dataclass(frozen=True, slots=True)
class TargetFar:
    """The false-accept rate of a whole call that is asked for, by channel.

    ``telephone`` also holds where voiceprint and call are of different channels.
    """

    wideband: float = 0.02
    telephone: float = 0.05

    def __post_init__(self) -> None:
        for name in ("wideband", "telephone"):
            rate = getattr(self, name)
            if not 0 < rate < 1:
                raise ConfigError(
                    f"decision.target_far.{name} must be a rate between 0 and 1.", rate
                )

    def on(self, channel: str) -> float:
        """The rate for trials of ``channel``."""
        return self.wideband if channel == "wideband" else self.telephone


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionConfig:
    """What is asked of the rule.

    Parameters
    ----------
    target_far:
        Whole-call false-accept rate, by channel.
    min_net_speech_s:
        Net speech before which nothing is decided.
    max_net_speech_s:
        Net speech after which nobody is accepted: what is open then is ``undecided``. A fitted
        rule has an end of its own, which a later one does not move.
    accept_llr, reject_llr:
        Fixed natural-log LLRs in place of the fitted rule, both or neither. They promise nothing.

    Raises
    ------
    ConfigError
        If a number is not finite, or contradicts another.
    """

    target_far: TargetFar = dataclasses.field(default_factory=TargetFar)
    min_net_speech_s: float = 1.0
    max_net_speech_s: float = 20.0
    accept_llr: float | None = None
    reject_llr: float | None = None

    def __post_init__(self) -> None:
        for name in ("accept_llr", "reject_llr", "min_net_speech_s", "max_net_speech_s"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"decision.{name} must be a finite number.", value)
        if (self.accept_llr is None) != (self.reject_llr is None):
            raise ConfigError(
                "Set both decision.accept_llr and decision.reject_llr, or neither.",
                self.accept_llr if self.reject_llr is None else self.reject_llr,
            )
        accept_llr, reject_llr = self.accept_llr, self.reject_llr
        if accept_llr is not None and reject_llr is not None and not reject_llr < accept_llr:
            raise ConfigError(
                f"decision.reject_llr ({reject_llr}) must be below decision.accept_llr "
                f"({accept_llr}).",
                reject_llr,
            )
        if self.min_net_speech_s < 0:
            raise ConfigError(
                f"decision.min_net_speech_s is {self.min_net_speech_s}; use 0 or more.",
                self.min_net_speech_s,
            )
        if not self.min_net_speech_s < self.max_net_speech_s:
            raise ConfigError(
                f"decision.max_net_speech_s ({self.max_net_speech_s}) must be above "
                f"decision.min_net_speech_s ({self.min_net_speech_s}).",
                self.max_net_speech_s,
            )


class Policy(Protocol):
    """What a session asks at each hop."""

    @property
    def promised_error_rate(self) -> float | None:
        """The whole-call false-accept rate that is promised; None promises nothing."""

    @property
    def first_look_s(self) -> float:
        """Net speech before which nothing is decided."""

    def look(self, llr: float, net_speech_s: float) -> Decision | None:
        """The verdict at this look, or None to go on listening."""

    def at_end(self, net_speech_s: float) -> Decision:
        """What is said when the audio ends and no look decided."""

    def thresholds(self, net_speech_s: float) -> tuple[float, float]:
        """The accept and the reject LLR in force, or that will be first."""


def policy_for(
    calibration: Calibration, config: DecisionConfig, channel: str, candidates: int = 1
) -> Policy:
    """The policy for trials of ``channel``, for one of ``candidates`` of one decision.

    Raises `ConfigError` when ``calibration`` does not know the channel, or cannot support the rate
    that ``config`` asks for.
    """
    calibration.heard(1.0, channel)
    if config.accept_llr is not None and config.reject_llr is not None:
        return ThresholdPolicy(config.accept_llr, config.reject_llr, config, candidates)
    rule = calibration.rules.get(channel)
    if rule is None:
        raise ConfigError(
            f"The calibration holds no decision rule for {channel} calls. "
            f"{_takes(config.target_far.on(channel))}. Or set decision.accept_llr and "
            "decision.reject_llr, which promise nothing.",
            channel,
        )
    return SequentialPolicy(rule, config, channel, candidates)


class SequentialPolicy:
    """The fitted rule.

    Among several candidates of one decision (1:N) each gets the target divided by their number
    (Bonferroni). Where the data cannot support so low a rate, the boundary of the lowest fitted
    one is raised by the logarithm of what is missing, as if the LLR were exact; the promise stays
    what the data show, the lowest fitted rate times the candidates.

    Raises `ConfigError` for a rate that the rule does not support, and when no look of it lies
    between ``min_net_speech_s`` and ``max_net_speech_s``.
    """

    def __init__(
        self, rule: StoppingRule, config: DecisionConfig, channel: str, candidates: int = 1
    ) -> None:
        target = config.target_far.on(channel)
        boundary = rule.supported(target / candidates)
        raised = 0.0
        if boundary is None:
            boundary = rule.boundaries[0]
            if candidates == 1:
                raise _unsupported(target, rule, boundary, channel)
            raised = math.log(boundary.target_far * candidates / target)
        promised = boundary.target_far * candidates
        self._promised = promised if promised < 1 else None
        self._min_s = max(config.min_net_speech_s, rule.from_s[0]) - 1e-6
        self._max_s = min(config.max_net_speech_s, rule.until_s) + 1e-6
        self._look_s = rule.look_s
        if math.ceil(self._min_s / self._look_s) > int(self._max_s / self._look_s):
            raise _no_look(rule, config)
        # One entry a look, so that a look is one index and two comparisons.
        steps = [rule.step(k * rule.look_s) for k in range(int(self._max_s / rule.look_s) + 1)]
        self._accept = [math.inf if j < 0 else boundary.accept[j] + raised for j in steps]
        self._reject = [-math.inf if j < 0 else boundary.reject[j] for j in steps]

    @property
    def promised_error_rate(self) -> float | None:
        """The whole-call false-accept rate; None when that of so many candidates is certain."""
        return self._promised

    @property
    def first_look_s(self) -> float:
        """The first look of the grid, in seconds of net speech."""
        return math.ceil(self._min_s / self._look_s) * self._look_s

    def look(self, llr: float, net_speech_s: float) -> Decision | None:
        """The verdict at this look; None between two looks of the grid."""
        if net_speech_s < self._min_s:
            return None
        if net_speech_s > self._max_s:
            return _UNDECIDED
        looks = net_speech_s / self._look_s
        number = int(looks + 0.5)
        if abs(looks - number) > 1e-3 or number >= len(self._accept):
            return None
        if llr >= self._accept[number]:
            return _ACCEPT
        return _REJECT if llr <= self._reject[number] else None

    def at_end(self, net_speech_s: float) -> Decision:
        """Undecided, for want of speech or of evidence."""
        return _TOO_SHORT if net_speech_s < self.first_look_s - 1e-6 else _UNDECIDED

    def thresholds(self, net_speech_s: float) -> tuple[float, float]:
        """The accept and the reject LLR at the last look up to here, or at the first to come."""
        first = math.ceil(self._min_s / self._look_s)
        number = min(max(int(net_speech_s / self._look_s + 1e-6), first), len(self._accept) - 1)
        return self._accept[number], self._reject[number]


class ThresholdPolicy:
    """Fixed LLRs, looked at again at each hop: no error rate can be promised.

    Among several candidates the accept threshold rises by their logarithm.
    """

    promised_error_rate: float | None = None

    def __init__(
        self, accept_llr: float, reject_llr: float, config: DecisionConfig, candidates: int = 1
    ) -> None:
        self.accept_llr = accept_llr + math.log(candidates)
        self.reject_llr = reject_llr
        self._config = config

    @property
    def first_look_s(self) -> float:
        """Net speech before which nothing is decided."""
        return self._config.min_net_speech_s

    def look(self, llr: float, net_speech_s: float) -> Decision | None:
        """The verdict at this look, or None to go on listening."""
        if net_speech_s < self._config.min_net_speech_s:
            return None
        if net_speech_s > self._config.max_net_speech_s + 1e-6:
            return _UNDECIDED
        if llr >= self.accept_llr:
            return _ACCEPT
        return _REJECT if llr <= self.reject_llr else None

    def at_end(self, net_speech_s: float) -> Decision:
        """Undecided, for want of speech or of evidence."""
        is_short = net_speech_s <= 0 or net_speech_s < self._config.min_net_speech_s
        return _TOO_SHORT if is_short else _UNDECIDED

    def thresholds(self, net_speech_s: float) -> tuple[float, float]:  # noqa: ARG002
        """The same at all times."""
        return self.accept_llr, self.reject_llr


def _no_look(rule: StoppingRule, config: DecisionConfig) -> ConfigError:
    first_s = math.ceil(rule.from_s[0] / rule.look_s - 1e-6) * rule.look_s
    last_s = int(rule.until_s / rule.look_s + 1e-6) * rule.look_s
    return ConfigError(
        f"Nothing could ever be decided: the rule looks every {rule.look_s:g} s from {first_s:g} "
        f"to {last_s:g} s of net speech, and no look lies between decision.min_net_speech_s "
        f"({config.min_net_speech_s:g}) and decision.max_net_speech_s "
        f"({config.max_net_speech_s:g}). Move them apart.",
        config.max_net_speech_s,
    )


def _unsupported(target: float, rule: StoppingRule, lowest: Boundary, channel: str) -> ConfigError:
    name = "wideband" if channel == "wideband" else "telephone"
    return ConfigError(
        f"decision.target_far.{name} is {target:g}, and the calibration for {channel} calls, "
        f"fitted on {rule.speakers} impostor speakers, supports no rate below "
        f"{lowest.target_far:g}: ask for that or more. {_takes(target)}.",
        target,
    )


def _takes(target: float) -> str:
    """What a calibration takes that promises ``target``."""
    rate = rate_to_fit(target)
    if rate is None:
        return f"Rules are fitted for {RATES[0]:g} and more, so {target:g} is out of reach"
    by = "" if math.isclose(rate, target) else f", for which a rule of {rate:g} is fitted,"
    return (
        f"{target:g}{by} takes `streamsv calibrate` on recordings of at least "
        f"{speakers_needed(rate)} people"
    )
