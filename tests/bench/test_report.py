"""The benchmark runs and says everything; no figure is held against a clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamsv.bench import machine
from streamsv.bench.engine import measure_engine
from streamsv.bench.machine import resident_mb
from streamsv.bench.matrix import MatrixRates, matrix_rates
from streamsv.bench.report import bench
from streamsv.engine import Engine
from streamsv.errors import ConfigError

SHORT = {"seconds": 4.0, "minutes": 5 / 60, "sessions": 4}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


def test_every_figure_is_in_the_json(engine: Engine) -> None:
    seen: list[tuple[float, float, str]] = []
    report = bench(engine, **SHORT, progress=lambda *call: seen.append(call))
    shown = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(shown) == ["engine", "rivals", "server", "machine"]
    assert (shown["rivals"], shown["server"]) == ({}, None)
    figures = shown["engine"]
    assert set(figures["streams_per_core"]) == set(figures["speech_share"]) == {"voiced", "call"}
    assert all(streams > 0 for streams in figures["streams_per_core"].values())
    assert figures["speech_share"]["call"] < figures["speech_share"]["voiced"]
    assert 0 < figures["hop_ms"]["p50"] <= figures["hop_ms"]["p95"] <= figures["hop_ms"]["p99"]
    loaded = figures["loaded"]
    assert loaded["sessions"] >= 1
    assert 0 < loaded["hop_ms"]["p50"] <= loaded["hop_ms"]["p95"] <= loaded["hop_ms"]["p99"]
    assert figures["encoder_streams_per_core"] > 0
    assert figures["lone_streams_per_core"] > 0
    assert set(figures["updates_per_hop"]) == {"voiced", "call"}
    assert all(0.9 < each <= 1 for each in figures["updates_per_hop"].values())
    for profile in figures["profile_us"].values():
        assert {"decode", "gate", "encoder", "batching"} < set(profile)
        assert all(spent >= 0 for spent in profile.values())
    assert figures["state_bytes"] == engine.encoder.state_bytes
    assert "matrix_rate_fraction" in figures
    hour = figures["hour"]
    places = {"first_second", "first_minute", "last_minute"}
    assert set(hour["cost_s_per_s"]) == set(hour["rss_mb"]) == places
    assert all(cost > 0 for cost in hour["cost_s_per_s"].values())
    assert {"processor", "cores", "matrix_gflops", "matrix_int8_gops", "streamsv"} <= set(
        shown["machine"]
    )
    assert seen[-1][0] == pytest.approx(seen[-1][1])
    assert [call[0] for call in seen] == sorted(call[0] for call in seen)


def test_the_matrix_rate_is_reached_in_part_when_the_model_tells_its_size() -> None:
    engine, rates = Engine.load(), MatrixRates(100.0, 400.0)
    engine.encoder.card = {}
    assert measure_engine(engine, **SHORT, matrix_rates=rates).matrix_rate_fraction is None
    engine.encoder.card = {"macs_per_hop": 1_000_000}
    fraction = measure_engine(engine, **SHORT, matrix_rates=rates).matrix_rate_fraction
    assert fraction is not None
    assert fraction > 0


def test_products_of_integers_are_held_to_the_rate_of_integers() -> None:
    assert MatrixRates(100.0, 400.0).least_s(50e9, 0) == 1.0
    assert MatrixRates(100.0, 400.0).least_s(25e9, 100e9) == 1.0


@pytest.mark.parametrize("lengths", [{"seconds": 1.0}, {"minutes": 0.01}])
def test_too_little_audio_is_refused(engine: Engine, lengths: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="at least 4 s"):
        measure_engine(engine, **lengths)


def test_no_session_is_refused(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        measure_engine(engine, sessions=0)


def test_the_matrix_rates_are_measured_on_this_machine() -> None:
    rates = matrix_rates(seconds=0.1)
    assert rates is not None
    assert rates.float32 > 0
    assert rates.int8 > 0


def test_a_machine_without_a_second_interpreter_has_no_matrix_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert matrix_rates() is None


def test_memory_grows_by_what_is_kept() -> None:
    before = resident_mb()
    kept = bytearray(b"\1" * (64 * 1024**2))
    after = resident_mb()
    if before is None or after is None:
        pytest.skip("this system does not tell the memory of a process")
    assert after > before
    assert len(kept) == 64 * 1024**2


def test_the_most_memory_stands_in_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(machine.Path, "read_text", no_proc)
    most = resident_mb()
    assert most is None or most > 1
