"""A whole benchmark: every figure beside the machine it was measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamsv.bench.engine import EngineCost, Progress, measure_engine
from streamsv.bench.machine import Machine, this_machine
from streamsv.bench.rivals import RivalCost, measure_rivals
from streamsv.engine import Engine

if TYPE_CHECKING:
    from streamsv.bench.server import ServerCost


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured; `to_dict` is the JSON form, which is stable.

    ``rivals`` are those that were asked for, by name; ``server`` is None unless asked for.
    """

    engine: EngineCost
    rivals: dict[str, RivalCost]
    server: ServerCost | None
    machine: Machine

    def to_dict(self) -> dict[str, Any]:
        """``{"engine": ..., "rivals": ..., "server": ..., "machine": ...}``, JSON-ready."""
        return {
            "engine": self.engine.to_dict(),
            "rivals": {name: cost.to_dict() for name, cost in self.rivals.items()},
            "server": self.server.to_dict() if self.server else None,
            "machine": self.machine.to_dict(),
        }


def bench(
    engine: Engine,
    seconds: float = 20.0,
    minutes: float = 60.0,
    sessions: int = 300,
    rivals: Sequence[str] = (),
    with_server: bool = False,
    engine_config: Path | None = None,
    progress: Progress | None = None,
) -> BenchReport:
    """Describe the machine, then measure ``engine`` on it, each of ``rivals`` and the server.

    ``engine_config`` is the file that ``engine`` was made from, for the server to read, if any.

    Raises `ConfigError` for too little audio, and for what cannot be measured what
    `measure_rivals` and `measure_server` raise.
    """

    def note(label: str) -> None:
        if progress:
            progress(1.0, 1.0, label)

    machine = this_machine()
    cost = measure_engine(engine, seconds, minutes, sessions, machine.matrix_rates, progress)
    found = measure_rivals(rivals, engine.config.gate, note)
    server = None
    if with_server:
        from streamsv.bench.server import measure_server

        server = measure_server(engine, engine_config, advance=note)
    return BenchReport(cost, found, server, machine)
