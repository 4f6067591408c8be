"""Webhooks: signed messages about what was decided, for whoever holds no connection here.

Each endpoint has lanes; a session keeps to one lane, so its messages come in order, and one that
must wait for its retries holds up only those behind it in its lane. They wait in memory: what is
not delivered when the process is killed is lost, and the results of sessions with it.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
import json
import logging
import random
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from streamsv.errors import ConfigError
from streamsv.server.config import WebhookEndpoint, WebhooksConfig
from streamsv.server.delivery import DeliveryFailed, post
from streamsv.server.metrics import Metrics

log = logging.getLogger("streamsv.server")

SIGNATURE_HEADER = "Streamsv-Signature"
DELIVERY_HEADER = "Streamsv-Delivery"

_SHORTEST_SECRET = 16
_TEMPORARY = frozenset({408, 425, 429})
_ENDED = "session_ended"


class CallLike(Protocol):
    """What is told of a call."""

    @property
    def session_id(self) -> str:
        """Its id."""

    @property
    def call_id(self) -> str | None:
        """The caller's own name for it."""

    @property
    def mode(self) -> str:
        """``verify``, ``identify`` or ``enroll``."""

    def result(self) -> dict[str, Any]:
        """What has become of it."""


@dataclass(frozen=True, slots=True)
class _Message:
    id: str
    body: bytes = field(repr=False)


class _Endpoint:
    """One URL, its secret and its lanes."""

    def __init__(self, endpoint: WebhookEndpoint, lanes: int) -> None:
        self.url = endpoint.url
        self.host = urlsplit(endpoint.url).hostname
        self.events = frozenset(endpoint.events)
        self.allow_private = endpoint.allow_private
        self.secret = _secret(endpoint.secret_file)
        self.lanes: list[asyncio.Queue[_Message]] = [asyncio.Queue() for _ in range(lanes)]
        self.waiting = 0


class Webhooks:
    """Sends webhooks. :meth:`take` and :meth:`take_end` go to ``Calls``; all runs on one loop.

    Parameters
    ----------
    config:
        Endpoints, retries and bounds.
    metrics:
        Counts what is delivered, given up and dropped.
    clock:
        Unix seconds, for signatures.
    tls:
        Whom to trust; by default whom the system trusts.

    Raises
    ------
    ConfigError
        If a secret cannot be read or is too short.
    """

    def __init__(
        self,
        config: WebhooksConfig,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._clock = clock
        # Made once: it reads every certificate that the system trusts, which takes tens of ms.
        is_secure = any(urlsplit(each.url).scheme == "https" for each in config.endpoints)
        self._tls = ssl.create_default_context() if tls is None and is_secure else tls
        self._endpoints = [_Endpoint(each, config.lanes) for each in config.endpoints]
        self._tasks: list[asyncio.Task[None]] = []
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def waiting(self) -> int:
        """Messages that are not delivered yet."""
        return sum(endpoint.waiting for endpoint in self._endpoints)

    def start(self) -> None:
        """Begin to deliver, on the running loop."""
        self._tasks = [
            asyncio.create_task(self._run(endpoint, lane))
            for endpoint in self._endpoints
            for lane in endpoint.lanes
        ]

    async def stop(self) -> None:
        """Wait for what is under way, at most ``drain_s``; what is left is dropped and counted."""
        try:
            async with asyncio.timeout(self._config.drain_s):
                await self._is_empty.wait()
        except TimeoutError:
            log.error("%d webhooks were not delivered before the server ended.", self.waiting)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(self.waiting):
            self._metrics.webhook("dropped")

    def take(self, call: CallLike, fields: Mapping[str, Any]) -> None:
        """An event of a call. The end comes by :meth:`take_end`, with the result."""
        if fields["type"] != _ENDED and "seq" in fields:
            self._offer(call, str(fields["type"]), f"{call.session_id}-{fields['seq']}", fields)

    def take_end(self, call: CallLike) -> None:
        """A call has ended, well or not: its result says which."""
        self._offer(call, _ENDED, f"{call.session_id}-end", None)

    def _offer(
        self, call: CallLike, kind: str, message_id: str, event: Mapping[str, Any] | None
    ) -> None:
        wanting = [endpoint for endpoint in self._endpoints if kind in endpoint.events]
        if not wanting:
            return
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        fields: dict[str, Any] = {
            "id": message_id,
            "type": kind,
            "created_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": call.session_id,
            "call_id": call.call_id,
            "mode": call.mode,
        }
        fields |= {"result": call.result()} if event is None else {"event": dict(event)}
        message = _Message(message_id, json.dumps(fields, separators=(",", ":")).encode())
        for endpoint in wanting:
            if endpoint.waiting >= self._config.max_waiting:
                log.error("A webhook to %s was dropped: too many wait.", endpoint.host)
                self._metrics.webhook("dropped")
                continue
            lane = zlib.crc32(call.session_id.encode()) % len(endpoint.lanes)
            endpoint.lanes[lane].put_nowait(message)
            self._count(endpoint, 1)

    def _count(self, endpoint: _Endpoint, change: int) -> None:
        endpoint.waiting += change
        waiting = self.waiting
        self._metrics.webhooks_waiting(waiting)
        if waiting:
            self._is_empty.clear()
        else:
            self._is_empty.set()

    async def _run(self, endpoint: _Endpoint, lane: asyncio.Queue[_Message]) -> None:
        while True:
            message = await lane.get()
            try:
                is_delivered = await self._deliver(endpoint, message)
            except Exception:  # the lane goes on, whatever it was
                log.exception("Webhook %s to %s is given up.", message.id, endpoint.host)
                is_delivered = False
            self._metrics.webhook("delivered" if is_delivered else "given_up")
            self._count(endpoint, -1)

    async def _deliver(self, endpoint: _Endpoint, message: _Message) -> bool:
        """Send until it is taken, refused for good, or was tried often enough."""
        config = self._config
        problem = ""
        for attempt in range(config.attempts):
            wanted_s = 0.0
            try:
                answer = await post(
                    endpoint.url,
                    message.body,
                    self._headers(endpoint, message),
                    config.timeout_s,
                    endpoint.allow_private,
                    self._tls,
                )
            except DeliveryFailed as error:
                problem = str(error)
            else:
                if 200 <= answer.status < 300:
                    return True
                problem = f"it answered {answer.status}"
                if answer.status < 500 and answer.status not in _TEMPORARY:
                    break
                wanted_s = min(answer.retry_after_s or 0.0, config.longest_retry_s)
            if attempt + 1 < config.attempts:
                self._metrics.webhook_retried()
                most_s = min(config.first_retry_s * 2.0**attempt, config.longest_retry_s)
                # Full jitter (Brooker 2015): those that failed together do not come back together.
                await asyncio.sleep(max(wanted_s, random.uniform(0.0, most_s)))
        log.error("Webhook %s to %s is given up: %s.", message.id, endpoint.host, problem)
        return False

    def _headers(self, endpoint: _Endpoint, message: _Message) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "streamsv",
            DELIVERY_HEADER: message.id,
            SIGNATURE_HEADER: signature(message.body, endpoint.secret, int(self._clock())),
        }


def signature(body: bytes, secret: str, at: int) -> str:
    """The signature of ``body`` at the time ``at``, unix seconds: ``t=…,v1=…``."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


def _secret(file: str) -> str:
    try:
        secret = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"webhooks.endpoints.secret_file {file} cannot be read. Write a secret of at least "
            f"{_SHORTEST_SECRET} characters to it.",
            file,
        ) from error
    if len(secret) < _SHORTEST_SECRET or not secret.isprintable():
        raise ConfigError(
            f"webhooks.endpoints.secret_file {file} must hold one line of at least "
            f"{_SHORTEST_SECRET} characters.",
            file,
        )
    return secret
