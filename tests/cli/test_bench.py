"""bench prints what was measured, beside the machine."""

from __future__ import annotations

from streamsv.bench import report
from streamsv.engine import Engine


def test_the_figures_are_printed_and_are_one_json_object(call, monkeypatch):
    measured = report.bench(Engine.load(), seconds=4.0, minutes=0.1)
    asked = []

    def remembered(engine, seconds, minutes, progress):
        asked.append((seconds, minutes))
        return measured

    monkeypatch.setattr(report, "bench", remembered)
    (found,) = call("bench", "--json", "--minutes", "0.1", "--seconds", "4").objects
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
    ):
        assert words in said.out
    assert asked == [(4.0, 0.1), (20.0, 60.0)]


def test_too_little_audio_is_a_sentence(call):
    said = call("bench", "--minutes", "0.01", "--json")
    assert (said.code, said.error["code"]) == (2, "usage")
    assert call("bench", "--seconds", "2").err.endswith("--seconds must be at least 4.\n")
