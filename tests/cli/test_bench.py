"""bench prints what was measured, beside the machine."""

from __future__ import annotations

import dataclasses

from streamsv.bench import report
from streamsv.bench.rivals import RivalCost
from streamsv.bench.server import ServerCost, Step
from streamsv.engine import Engine


def test_the_figures_are_printed_and_are_one_json_object(call, monkeypatch):
    measured = report.bench(Engine.load(), seconds=4.0, minutes=0.1, sessions=4)
    rival = RivalCost("campplus", "1", streams_per_core=2.5, update_ms=32.0)
    times = {"p50": 21.0, "p95": 40.0, "p99": 88.0}
    step = Step(75, 900, times, times, times, lost_packets=0)
    measured = dataclasses.replace(
        measured, rivals={"teacher": rival}, server=ServerCost((step,), 0.45, "max_calls")
    )
    asked = []

    def remembered(engine, seconds, minutes, sessions, rivals, **more):
        asked.append((seconds, minutes, sessions, rivals, more["with_server"]))
        return measured

    monkeypatch.setattr(report, "bench", remembered)
    (found,) = call(
        *("bench", "--json", "--minutes", "0.1", "--seconds", "4", "--sessions", "4"),
        *("--rival", "resemblyzer", "--rival", "x.onnx", "--server"),
    ).objects
    assert found == {"type": "bench", **measured.to_dict()}
    said = call("bench")
    assert said.code == 0
    for words in (
        "streams a core",
        "hop, p99",
        "state of a stream",
        "one session of 0.1 min",
        "of the audio is speech",
        "process memory",
        "scoring and events",
        "teacher: campplus",
        "75",
        "88 ms",
    ):
        assert words in said.out
    assert asked == [
        (4.0, 0.1, 4, ["resemblyzer", "x.onnx"], True),
        (20.0, 60.0, 300, (), False),
    ]


def test_too_little_audio_is_a_sentence(call):
    said = call("bench", "--minutes", "0.01", "--json")
    assert (said.code, said.error["code"]) == (2, "usage")
    assert call("bench", "--sessions", "0").err.endswith("--sessions must be at least 1.\n")
    assert call("bench", "--seconds", "2").err.endswith("--seconds must be at least 4.\n")
