"""A whole benchmark: every figure beside the machine it was measured on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from streamsv.bench.engine import EngineCost, Progress, measure_engine
from streamsv.bench.machine import Machine, this_machine
from streamsv.engine import Engine


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured; `to_dict` is the JSON form."""

    engine: EngineCost
    machine: Machine

    def to_dict(self) -> dict[str, Any]:
        """``{"engine": ..., "machine": ...}``, JSON-ready."""
        return {"engine": self.engine.to_dict(), "machine": asdict(self.machine)}


def bench(
    engine: Engine,
    seconds: float = 20.0,
    minutes: float = 60.0,
    progress: Progress | None = None,
) -> BenchReport:
    """Describe the machine, then measure ``engine`` on it; see `measure_engine`.

    Raises `ConfigError` for too little audio.
    """
    machine = this_machine()
    cost = measure_engine(engine, seconds, minutes, machine.matrix_gflops, progress)
    return BenchReport(cost, machine)
