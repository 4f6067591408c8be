"""Every default of the server, in one place; ``configs/serve.yaml`` holds the same."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
from typing import Any
from urllib.parse import urlsplit

from streamsv.errors import ConfigError
from streamsv.server.limits import LimitsConfig


def _check_positive(where: str, config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise ConfigError(f"{where}.{name} must be a finite number above 0.", value)


@dataclasses.dataclass(frozen=True, slots=True)
class TlsConfig:
    """Encryption by this server itself; leave it out behind a proxy that encrypts.

    Parameters
    ----------
    certificate, key:
        Paths of a certificate chain and its private key, PEM; both or neither.
    """

    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigError(
                "tls.certificate and tls.key go together; give both, or neither.",
                self.certificate or self.key,
            )


@dataclasses.dataclass(frozen=True, slots=True)
class MediaConfig:
    """The media socket: deadlines and bounds.

    Parameters
    ----------
    handshake_s:
        For the HTTP request that opens a connection to be complete, and for the body that asks
        for a ticket.
    first_message_s:
        From the open socket to its ``start``; later is close 4408.
    idle_s:
        Without any message; longer is close 4409.
    session_s:
        The longest session; longer is close 4410.
    resume_s:
        How long a session waits for a dropped connection to come back.
    replay_events:
        Events kept for a connection that comes back or an observer that comes late.
    inbox_s:
        Seconds of audio that may wait for the engine in one session.
    max_message_bytes:
        The largest message, and the largest whole of a fragmented one; larger is close 1009.
    max_json_bytes, max_json_depth:
        Bounds of a text message.
    max_control_bytes:
        The largest text message after ``start``; larger is close 1007.
    controls_at_once, controls_per_s:
        Text messages after ``start`` that are read as they come, and how many a second when there
        are more: the socket is not read meanwhile, and nothing is lost.
    max_speakers:
        Voiceprints that one session may claim.
    max_candidates:
        Voiceprints that ``identify`` may compare with when none is named.
    max_unsent_bytes:
        What may wait for a client that does not read; more, and its connection is dropped.
    ping_interval_s, ping_timeout_s:
        A ping after so long without one, and how long its answer may take.
    """

    handshake_s: float = 10.0
    first_message_s: float = 10.0
    idle_s: float = 60.0
    session_s: float = 14_400.0
    resume_s: float = 60.0
    replay_events: int = 1024
    inbox_s: float = 4.0
    max_message_bytes: int = 262_144
    max_json_bytes: int = 16_384
    max_json_depth: int = 8
    max_control_bytes: int = 512
    controls_at_once: int = 200
    controls_per_s: float = 50.0
    max_speakers: int = 50
    max_candidates: int = 1000
    max_unsent_bytes: int = 1_048_576
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        _check_positive("media", self, *(field.name for field in dataclasses.fields(self)))
        if self.inbox_s < 0.5:
            raise ConfigError("media.inbox_s must be at least 0.5.", self.inbox_s)
        if self.max_json_bytes > self.max_message_bytes:
            raise ConfigError(
                "media.max_json_bytes must be at most media.max_message_bytes.",
                self.max_json_bytes,
            )


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The threads that run the engine.

    Parameters
    ----------
    threads:
        How many. Each steps its own sessions in batches.
    max_batch:
        The most sessions stepped in one call of the network.
    pause_ms, pause_from_sessions:
        From so many sessions of a thread on, it works in rounds that begin some time apart, so
        that more hops are stepped together: the longer the more sessions there are, up to
        ``pause_ms`` at 16 times as many; and during a round the event loop rests, so that both do
        not take Python from each other. Fewer sessions are served at once.
    """

    threads: int = 1
    max_batch: int = 128
    pause_ms: float = 40.0
    pause_from_sessions: int = 8

    def __post_init__(self) -> None:
        _check_positive("worker", self, "threads", "max_batch", "pause_from_sessions")
        if not 0 <= self.pause_ms <= 1000:
            raise ConfigError("worker.pause_ms must be from 0 to 1000.", self.pause_ms)


@dataclasses.dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """When a new session is refused. What is measured is this machine, under its present load.

    Parameters
    ----------
    max_sessions:
        Live sessions, whatever the load.
    max_utilization:
        Share of their time that the engine's threads may be busy with one session more.
    max_delay_ms:
        Time for which audio may wait for the engine.
    retry_s:
        When a refused client is told to come back.
    """

    max_sessions: int = 2000
    max_utilization: float = 0.85
    max_delay_ms: float = 150.0
    retry_s: int = 5

    def __post_init__(self) -> None:
        _check_positive("admission", self, *(field.name for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True, slots=True)
class ResultsConfig:
    """Results of sessions that have ended, kept in memory.

    Parameters
    ----------
    kept_s:
        How long.
    max_kept:
        How many; the oldest are forgotten first.
    """

    kept_s: float = 3600.0
    max_kept: int = 10_000

    def __post_init__(self) -> None:
        _check_positive("results", self, "kept_s", "max_kept")


@dataclasses.dataclass(frozen=True, slots=True)
class RestConfig:
    """Uploads and what else comes by plain HTTP.

    Parameters
    ----------
    max_json_bytes:
        The largest JSON body.
    max_upload_bytes:
        The largest upload, all its recordings together.
    max_recordings:
        Recordings in one upload.
    max_recording_s:
        Seconds of sound in one upload, whatever its bytes; a small file can hold hours of silence.
    upload_s:
        How long an upload may take to arrive.
    pending_enrollments:
        Uploads that may be taken in or wait for the engine at a time; one is enrolled at a time.
    metrics_access:
        Who may read ``/metrics``: ``admin`` (a key with that scope), ``loopback`` (that, or anybody
        on this machine who asks for ``localhost`` or ``127.0.0.1``), or ``everybody``.
    """

    max_json_bytes: int = 16_384
    max_upload_bytes: int = 52_428_800
    max_recordings: int = 20
    max_recording_s: float = 600.0
    upload_s: float = 60.0
    pending_enrollments: int = 8
    metrics_access: str = "loopback"

    def __post_init__(self) -> None:
        names = [field.name for field in dataclasses.fields(self)]
        _check_positive("rest", self, *(name for name in names if name != "metrics_access"))
        allowed = ("admin", "loopback", "everybody")
        if self.metrics_access not in allowed:
            raise ConfigError(
                f"rest.metrics_access must be one of: {', '.join(allowed)}.", self.metrics_access
            )


@dataclasses.dataclass(frozen=True, slots=True)
class AuditConfig:
    """The audit log.

    Parameters
    ----------
    path:
        The file; ``None`` for ``audit.jsonl`` beside the store of voiceprints.
    max_bytes:
        Size at which the file is put aside and another begun. Nothing is ever deleted.
    """

    path: str | None = None
    max_bytes: int = 16_777_216

    def __post_init__(self) -> None:
        if self.max_bytes < 65_536:
            raise ConfigError("audit.max_bytes must be at least 65536.", self.max_bytes)


WEBHOOK_EVENTS = (
    "decision_made",
    "speaker_changed",
    "session_ended",
    "enrollment_completed",
    "enrollment_refused",
)
"""The events that webhooks carry."""


@dataclasses.dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where webhooks go.

    Parameters
    ----------
    url:
        ``https://…``; ``http://`` for private addresses only.
    secret_file:
        Path of a file with the secret that signs them: at least 16 characters, on one line.
    events:
        Which events it gets.
    allow_private:
        Whether the name may stand for a private or loopback address.
    """

    url: str
    secret_file: str
    events: tuple[str, ...] = WEBHOOK_EVENTS
    allow_private: bool = False

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            is_usable = False
        if not is_usable or not self.url.isascii() or any(c <= " " for c in self.url):
            raise ConfigError("webhooks.endpoints.url must be a URL: https://host/path.", self.url)
        if parts.username is not None or parts.fragment:
            raise ConfigError(
                "webhooks.endpoints.url must have no user name and no fragment; deliveries are "
                "signed instead.",
                parts.hostname,
            )
        if parts.scheme != "https" and not (parts.scheme == "http" and self.allow_private):
            raise ConfigError(
                "webhooks.endpoints.url must begin with https://; http:// is for private "
                "addresses, with allow_private: true.",
                self.url,
            )
        unknown = [event for event in self.events if event not in WEBHOOK_EVENTS]
        if unknown or not self.events:
            raise ConfigError(
                f"webhooks.endpoints.events are one or more of: {', '.join(WEBHOOK_EVENTS)}.",
                unknown[0] if unknown else None,
            )


@dataclasses.dataclass(frozen=True, slots=True)
class WebhooksConfig:
    """Signed messages about what happened, sent to URLs.

    Parameters
    ----------
    endpoints:
        Where they go.
    timeout_s:
        For one delivery, from looking up the name to the status line.
    attempts:
        Deliveries tried before one is given up.
    first_retry_s, longest_retry_s:
        The pause before a retry doubles from one to the other; each is drawn at random up to that.
        A ``Retry-After`` is waited for up to the longest, too.
    max_waiting:
        Webhooks not delivered yet, for each endpoint; more are dropped, and counted.
    lanes:
        Deliveries under way at a time, for each endpoint. One session keeps to one lane, and so in
        order.
    drain_s:
        How long the last ones may take when the server stops.
    """

    endpoints: tuple[WebhookEndpoint, ...] = ()
    timeout_s: float = 10.0
    attempts: int = 8
    first_retry_s: float = 1.0
    longest_retry_s: float = 300.0
    max_waiting: int = 10_000
    lanes: int = 8
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        names = [field.name for field in dataclasses.fields(self) if field.name != "endpoints"]
        _check_positive("webhooks", self, *names)


@dataclasses.dataclass(frozen=True, slots=True)
class ServeConfig:
    """The server, to the last number.

    Parameters
    ----------
    host, port:
        Where to listen. Port 0 takes any free one. Without keys only a loopback address is taken.
    engine:
        Path of an engine configuration; ``None`` for the built-in one.
    store:
        Path of the store of voiceprints; ``None`` for the one of this user.
    drain_s:
        After SIGTERM, how long live sessions may take to finish.
    require_consent:
        Whether an enrollment without consent is refused.
    keys:
        Path of the file of API keys; ``None`` for ``keys.db`` beside the store of voiceprints.
    allowed_origins:
        Pages on other hosts that may call, such as ``https://desk.example.com``.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    engine: str | None = None
    store: str | None = None
    drain_s: float = 60.0
    require_consent: bool = False
    keys: str | None = None
    allowed_origins: tuple[str, ...] = ()
    tls: TlsConfig = dataclasses.field(default_factory=TlsConfig)
    media: MediaConfig = dataclasses.field(default_factory=MediaConfig)
    worker: WorkerConfig = dataclasses.field(default_factory=WorkerConfig)
    admission: AdmissionConfig = dataclasses.field(default_factory=AdmissionConfig)
    results: ResultsConfig = dataclasses.field(default_factory=ResultsConfig)
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)
    rest: RestConfig = dataclasses.field(default_factory=RestConfig)
    audit: AuditConfig = dataclasses.field(default_factory=AuditConfig)
    webhooks: WebhooksConfig = dataclasses.field(default_factory=WebhooksConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError("port must be from 0 to 65535.", self.port)
        if not 0 <= self.drain_s < math.inf:
            raise ConfigError("drain_s must be a finite number from 0.", self.drain_s)

    @property
    def is_loopback(self) -> bool:
        """Whether ``host`` can be reached from this machine only."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
