"""The figures are Prometheus', in a registry of their own, and name nobody."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from streamsv.audio import AudioFormat
from streamsv.server.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_what_happened_is_counted() -> None:
    metrics = Metrics(hop_s=0.08)
    metrics.session_started("verify")
    metrics.session_started("verify")
    metrics.session_ended("verify")
    metrics.packet_to_score(0.012)
    metrics.gap(0.5)
    metrics.shed(3)
    metrics.verdict("accept")
    assert value(metrics, "streamsv_sessions", mode="verify") == 1
    assert value(metrics, "streamsv_sessions_started_total", mode="verify") == 2
    assert value(metrics, "streamsv_packet_to_score_seconds_bucket", le="0.02") == 1
    assert value(metrics, "streamsv_packet_to_score_seconds_bucket", le="0.01") == 0
    assert value(metrics, "streamsv_gap_seconds_total") == 0.5
    assert value(metrics, "streamsv_shed_hops_total") == 3
    assert value(metrics, "streamsv_verdicts_total", verdict="accept") == 1


def test_the_real_time_factor_is_work_for_a_second_of_speech() -> None:
    metrics = Metrics(hop_s=0.1)
    for _ in range(50):
        metrics.batch(10, 0.01)
    assert abs((value(metrics, "streamsv_real_time_factor") or 0) - 0.01) < 1e-9


def test_a_word_from_outside_never_becomes_a_label() -> None:
    metrics = Metrics()
    for word in ("alice", "x" * 1000, "\ud800"):
        metrics.session_started(word)
        metrics.verdict(word)
        metrics.refused(word)
        metrics.enrollment(word)
    text = metrics.exposition().decode()
    assert "alice" not in text
    labels = {
        name
        for family in text_string_to_metric_families(text)
        if family.name.startswith("streamsv")
        for sample in family.samples
        for name in sample.labels
    }
    assert labels <= {"mode", "verdict", "reason", "outcome", "le"}


def test_two_servers_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics(), Metrics()
    one.shed(1)
    assert value(other, "streamsv_shed_hops_total") == 0
    assert REGISTRY.get_sample_value("streamsv_shed_hops_total") is None


def test_an_outcome_has_one_name_however_the_enrollment_came() -> None:
    metrics = Metrics()
    for outcome in ("inconsistent", "inconsistent_enrollment"):  # an event's word, an error's code
        metrics.enrollment(outcome)
    assert value(metrics, "streamsv_enrollments_total", outcome="inconsistent") == 2


def test_enrollments_by_socket_are_counted_by_their_outcome(
    serve: Any, desk: Any, voice: Any
) -> None:
    live = serve()
    audio = AudioFormat("mulaw", 8000)
    speech = desk.encoded(voice("voice_b_call"), audio)
    start = desk.start_of(audio, "bob", mode="enroll", replace=True)

    async def run() -> None:
        await desk.whole_call(live, start, speech, 16_000)
        await desk.whole_call(live, start, speech[:8000])
        async with live.open() as socket:
            await socket.send(start)
            await socket.recv()
            await socket.send(b"\xff" * 800)
        async with live.open() as socket:
            await socket.send(start)
            await socket.recv()
            await socket.send("no json")
            await desk.read_to_end(socket, desk.Heard([]))
        while live.parts.calls.live:
            await asyncio.sleep(0.02)

    asyncio.run(run())
    for outcome in ("completed", "not_enough_speech", "cancelled", "failed"):
        found = value(live.parts.metrics, "streamsv_enrollments_total", outcome=outcome)
        assert found == 1, outcome
