"""What a server's ``/metrics`` say, in the text format of Prometheus."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of observations up to each bound, the last bound infinite, as Prometheus adds them."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    def __sub__(self, earlier: Histogram) -> Histogram:
        """What was observed since ``earlier``, a histogram of the same bounds or an empty one."""
        if not earlier.bounds:
            return self
        return Histogram(
            self.bounds,
            tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True)),
        )

    def quantile(self, q: float) -> float:
        """The value below which a share ``q`` of the observations lies; of none, 0.

        Linear inside a bucket, and the last finite bound for what lies above it, as
        ``histogram_quantile`` of Prometheus does it.
        """
        total = self.counts[-1] if self.counts else 0.0
        if not total:
            return 0.0
        rank, low, below = q * total, 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank:
                if math.isinf(bound) or count == below:
                    return low
                return low + (bound - low) * (rank - below) / (count - below)
            low, below = bound, count
        return low


def histogram_in(text: str, name: str) -> Histogram:
    """The histogram ``name``, which has no labels; an empty one if there is none."""
    found = re.findall(rf'^{re.escape(name)}_bucket{{le="([^"]+)"}} (\S+)', text, re.MULTILINE)
    pairs = sorted((float(bound), float(count)) for bound, count in found)
    return Histogram(tuple(bound for bound, _ in pairs), tuple(count for _, count in pairs))


def counter_in(text: str, name: str) -> float:
    """The sum of all series of the counter ``name``; 0 if there is none."""
    found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)", text, re.MULTILINE)
    return math.fsum(map(float, found))
