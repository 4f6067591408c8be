"""What others cost that do not stream: each update embeds the last seconds of speech anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streamsv.audio import SAMPLE_RATE, GateConfig
from streamsv.bench import sound

WINDOW_S = 3.0
INTERVAL_S = 0.08

_LEAST_WINDOWS = 5
_LEAST_CPU_S = 2.0


@dataclass(frozen=True, slots=True)
class RivalCost:
    """What one rival costs, one process, one thread.

    Fields
    ------
    name, version: what it is.
    streams_per_core: streams of unbroken speech in real time on one core, each embedding its last
        ``window_s`` anew every ``interval_s``.
    update_ms: CPU time of one such embedding.
    """

    name: str
    version: str
    streams_per_core: float
    update_ms: float
    window_s: float = WINDOW_S
    interval_s: float = INTERVAL_S

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


def measure_rivals(
    names: Sequence[str], gate: GateConfig, advance: Callable[[str], None] | None = None
) -> dict[str, RivalCost]:
    """Measure each of ``names``: ``resemblyzer``, or the path of an encoder in an ``.onnx`` file.

    The first file is called ``teacher`` in the result, any further one by its own name.
    ``advance`` is called with the name of each that is done. Raises `ConfigError` for a name that
    is neither, and `ModelLoadError` for what is not installed or cannot be loaded.
    """
    costs: dict[str, RivalCost] = {}
    for name in names:
        cost = measure_rival(name, gate)
        key = cost.name
        if name.endswith(".onnx") and "teacher" not in costs:
            key = "teacher"
        costs[key] = cost
        if advance:
            advance(key)
    return costs


def measure_rival(name_or_path: str, gate: GateConfig) -> RivalCost:
    """Embed windows of the bundled speech for about two seconds of CPU time.

    Raises as `measure_rivals`.
    """
    from streamsv.evaluation.rivals import load_rival

    rival = load_rival(name_or_path)
    window = round(WINDOW_S * SAMPLE_RATE)
    step = round(INTERVAL_S * SAMPLE_RATE)
    pcm = sound.voiced_audio(20.0, gate)
    rival.embed(pcm[:window])
    windows, begun, start = 0, time.process_time(), 0
    while (spent := time.process_time() - begun) < _LEAST_CPU_S or windows < _LEAST_WINDOWS:
        rival.embed(pcm[start : start + window])
        start = (start + step) % (len(pcm) - window)
        windows += 1
    update_s = spent / windows
    return RivalCost(rival.name, rival.version, INTERVAL_S / update_s, 1000 * update_s)
