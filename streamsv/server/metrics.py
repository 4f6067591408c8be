"""What Prometheus is told. No label ever names a speaker, a key, a call or an address."""

from __future__ import annotations

import threading

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from streamsv.events import Verdict

CONTENT_TYPE = CONTENT_TYPE_LATEST

_OTHER = "other"
_MODES = frozenset({"verify", "identify", "enroll"})
_VERDICTS = frozenset(map(str, Verdict))
_REFUSALS = frozenset({"capacity", "limit_reached", "authentication", "not_allowed", "draining"})
_WEBHOOK_OUTCOMES = frozenset({"delivered", "given_up", "dropped"})
_ENROLLMENTS = frozenset(
    {
        "completed",
        "not_enough_speech",
        "inconsistent",
        "unsupported_audio",
        "cancelled",
        "failed",
    }
)
_SAME_OUTCOME = {"inconsistent_enrollment": "inconsistent"}
"""The code of an error, where the event of a session has another word for it."""

_LATENCY_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)
_STEP_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SMOOTHING = 0.05


class Metrics:
    """The figures of one server, in a registry of its own. Any thread may call; nothing blocks.

    Parameters
    ----------
    hop_s:
        Seconds of speech in one step of the network.
    """

    def __init__(self, hop_s: float = 0.08) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._hop_s = hop_s
        self._lock = threading.Lock()
        self._step_s = self._speech_s = 0.0
        self._live = Gauge("streamsv_sessions", "Live sessions.", ["mode"], registry=registry)
        self._started = Counter(
            "streamsv_sessions_started", "Sessions begun.", ["mode"], registry=registry
        )
        self._refused = Counter(
            "streamsv_refused", "Connections and requests refused.", ["reason"], registry=registry
        )
        self._latency = Histogram(
            "streamsv_packet_to_score_seconds",
            "From reading the packet that completes a hop to writing its score.",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self._batch_size = Histogram(
            "streamsv_batch_size", "Hops stepped together.", buckets=_BATCH, registry=registry
        )
        self._batch_s = Histogram(
            "streamsv_batch_seconds",
            "Time of one step of a batch.",
            buckets=_STEP_S,
            registry=registry,
        )
        self._factor = Gauge(
            "streamsv_real_time_factor",
            "Seconds of work for a second of speech, over the last batches.",
            registry=registry,
        )
        self._speech = Counter(
            "streamsv_speech_seconds", "Seconds of speech stepped.", registry=registry
        )
        self._gaps = Counter("streamsv_gaps", "Gaps in the audio.", registry=registry)
        self._gap_s = Counter("streamsv_gap_seconds", "Audio lost in gaps.", registry=registry)
        self._shed = Counter("streamsv_shed_hops", "Hops shed under overload.", registry=registry)
        self._verdicts = Counter(
            "streamsv_verdicts", "Decisions made.", ["verdict"], registry=registry
        )
        self._enrollments = Counter(
            "streamsv_enrollments", "Enrollments by outcome.", ["outcome"], registry=registry
        )
        self._webhooks = Counter(
            "streamsv_webhooks", "Webhooks by outcome.", ["outcome"], registry=registry
        )
        self._webhook_retries = Counter(
            "streamsv_webhook_retries", "Deliveries that failed and wait.", registry=registry
        )
        self._webhooks_waiting = Gauge(
            "streamsv_webhooks_waiting", "Webhooks not delivered yet.", registry=registry
        )

    def session_started(self, mode: str) -> None:
        """A session of ``mode`` began."""
        label = _known(mode, _MODES)
        self._live.labels(label).inc()
        self._started.labels(label).inc()

    def session_ended(self, mode: str) -> None:
        """A session of ``mode`` ended."""
        self._live.labels(_known(mode, _MODES)).dec()

    def refused(self, reason: str) -> None:
        """A connection or request was refused, by the code of the error."""
        self._refused.labels(_known(reason, _REFUSALS)).inc()

    def batch(self, size: int, seconds: float) -> None:
        """``size`` hops were stepped together in ``seconds``."""
        if size < 1:
            return
        speech_s = size * self._hop_s
        self._batch_size.observe(size)
        self._batch_s.observe(seconds)
        self._speech.inc(speech_s)
        with self._lock:
            # Both sums fade at one rate, so that their ratio is weighted by speech, not by batch.
            self._step_s += _SMOOTHING * (seconds - self._step_s)
            self._speech_s += _SMOOTHING * (speech_s - self._speech_s)
            self._factor.set(self._step_s / self._speech_s)

    def packet_to_score(self, seconds: float) -> None:
        """A score was written ``seconds`` after the packet that completed its hop was read."""
        self._latency.observe(seconds)

    def gap(self, seconds: float) -> None:
        """``seconds`` of audio were lost."""
        self._gaps.inc()
        self._gap_s.inc(max(0.0, seconds))

    def shed(self, hops: int) -> None:
        """So many hops were dropped because the server could not keep up."""
        self._shed.inc(max(0, hops))

    def verdict(self, verdict: str) -> None:
        """A decision was made."""
        self._verdicts.labels(_known(str(verdict), _VERDICTS)).inc()

    def enrollment(self, outcome: str) -> None:
        """An enrollment was ``completed``, refused for a reason, ``cancelled`` or ``failed``."""
        outcome = _SAME_OUTCOME.get(outcome, outcome)
        self._enrollments.labels(_known(outcome, _ENROLLMENTS)).inc()

    def webhook(self, outcome: str) -> None:
        """A webhook was ``delivered``, ``given_up`` after its retries, or ``dropped`` unsent."""
        self._webhooks.labels(_known(outcome, _WEBHOOK_OUTCOMES)).inc()

    def webhook_retried(self) -> None:
        """A delivery failed and will be tried again."""
        self._webhook_retries.inc()

    def webhooks_waiting(self, count: int) -> None:
        """So many webhooks wait to be delivered."""
        self._webhooks_waiting.set(count)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format, of the type ``CONTENT_TYPE``."""
        return generate_latest(self.registry)


def _known(value: str, known: frozenset[str]) -> str:
    """A label can only be a word of ours, or what strangers send would become labels."""
    return value if value in known else _OTHER
