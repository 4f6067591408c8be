"""Rivals are measured as they are named; what cannot be had is a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamsv.audio import GateConfig
from streamsv.bench import rivals
from streamsv.bench.rivals import INTERVAL_S, measure_rivals
from streamsv.errors import ConfigError

from streamsv.evaluation import rivals as encoders  # isort: skip


class Counting:
    """An encoder that remembers what it was given."""

    version = "1"

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[int] = []

    def embed(self, pcm: Any) -> Any:
        self.heard.append(len(pcm))
        return np.linalg.qr(pcm[:6400].reshape(80, 80))[0][0]


def test_each_update_embeds_three_seconds_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Counting] = []

    def load(name: str) -> Counting:
        made.append(Counting(name.removesuffix(".onnx")))
        return made[-1]

    monkeypatch.setattr(encoders, "load_rival", load)
    monkeypatch.setattr(rivals, "_LEAST_CPU_S", 0.02)
    done: list[str] = []
    costs = measure_rivals(["resemblyzer", "x.onnx", "y.onnx"], GateConfig(), done.append)
    assert list(costs) == done == ["resemblyzer", "teacher", "y"]
    assert costs["teacher"].name == "x"
    for rival in made:
        assert len(rival.heard) > 5
        assert set(rival.heard) == {48_000}
    for cost in costs.values():
        assert cost.streams_per_core == pytest.approx(1000 * INTERVAL_S / cost.update_ms)
        assert {"name", "version", "window_s", "interval_s"} < set(cost.to_dict())


def test_what_is_no_rival_is_refused() -> None:
    with pytest.raises(ConfigError, match="nobody"):
        measure_rivals(["nobody"], GateConfig())
