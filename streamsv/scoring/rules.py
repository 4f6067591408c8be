"""When to stop: boundaries of the LLR over net speech that hold an error for a whole call.

A rule is data, fitted by `streamsv.evaluation.stopping` and stored with the calibration: for each
false-accept rate that the data can support, one accept and one reject boundary, constant in steps
of net speech. The score is looked at on a fixed grid of net speech, so that a call is looked at as
often as the calls that the rule was fitted on. Leaving looks out, starting later or stopping
earlier only takes chances to accept away, so it keeps the promise.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass

from streamsv.errors import ConfigError

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""False-accept rates for which a boundary is fitted, each if there are speakers enough for it."""


def rate_to_fit(far: float) -> float | None:
    """The rate that a promise of ``far`` is kept by: the highest of `RATES` that is no higher.

    None below the lowest.

    >>> rate_to_fit(0.0095), rate_to_fit(0.02), rate_to_fit(0.0005)
    (0.005, 0.02, None)
    """
    return max((rate for rate in RATES if rate <= far * (1 + 1e-9)), default=None)


def speakers_needed(far: float) -> int:
    """Impostor speakers without which a false-accept rate cannot be promised: n >= 1/far - 1.

    The least that the conformal bound of n path maxima can say is 1 / (n + 1) (Vovk et al. 2005).

    >>> speakers_needed(0.02), speakers_needed(0.001)
    (49, 999)
    """
    return math.ceil(1 / far - 1 - 1e-9)


@dataclass(frozen=True, slots=True)
class Boundary:
    """The rule for one promised rate: LLRs in each step of net speech.

    Fields
    ------
    target_far: whole-call false-accept rate, as a fraction.
    accept, reject: natural-log LLR at or above which a voice is accepted, at or below which
        rejected; one for each step.
    """

    target_far: float
    accept: tuple[float, ...]
    reject: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """The boundaries of one channel.

    Raises `ConfigError` when made from values that are not a rule.

    Fields
    ------
    look_s: net speech between two looks, in seconds.
    from_s: where each step begins, rising, in seconds of net speech.
    until_s: the last look; nobody is accepted later.
    speakers: impostor speakers that it was fitted on.
    boundaries: one for each rate, rising.
    """

    look_s: float
    from_s: tuple[float, ...]
    until_s: float
    speakers: int
    boundaries: tuple[Boundary, ...]

    def __post_init__(self) -> None:
        if not 0 < self.look_s < math.inf:
            raise ConfigError(f"look_s must be above 0; got {self.look_s}.", self.look_s)
        edges = (*self.from_s, self.until_s)
        if len(edges) < 2 or not all(a < b for a, b in itertools.pairwise(edges)):
            raise ConfigError("from_s and until_s must be rising seconds.", str(edges))
        rates = [each.target_far for each in self.boundaries]
        if not rates or rates != sorted(set(rates)) or not 0 < rates[0] <= rates[-1] < 1:
            raise ConfigError("target_far must be rising rates between 0 and 1.", str(rates))
        for each in self.boundaries:
            for name, llrs in (("accept", each.accept), ("reject", each.reject)):
                if len(llrs) != len(self.from_s) or not all(map(math.isfinite, llrs)):
                    raise ConfigError(
                        f"{name} of target_far {each.target_far} must hold a finite LLR for each "
                        f"of the {len(self.from_s)} steps.",
                        each.target_far,
                    )

    def supported(self, far: float) -> Boundary | None:
        """The boundary of the highest fitted rate that is no higher than ``far``, if any."""
        fitting = [each for each in self.boundaries if each.target_far <= far * (1 + 1e-9)]
        return fitting[-1] if fitting else None

    def step(self, net_speech_s: float) -> int:
        """Which step ``net_speech_s`` lies in; -1 before the first."""
        return bisect.bisect_right(self.from_s, net_speech_s + 1e-6) - 1
