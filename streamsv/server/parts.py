"""What the application is made of, for whoever handles a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from streamsv.engine import Engine
from streamsv.server.access import Gatekeeper
from streamsv.server.audit import AuditLog
from streamsv.server.calls import Calls
from streamsv.server.config import ServeConfig
from streamsv.server.limits import Limits
from streamsv.server.metrics import Metrics
from streamsv.server.webhooks import Webhooks
from streamsv.server.worker import Workers
from streamsv.voiceprints import VoiceprintStore


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once at startup, at ``app.state.parts``.

    ``blocking`` is one thread for all work on ``store``, which must not be done on the loop.
    """

    config: ServeConfig
    engine: Engine
    store: VoiceprintStore
    blocking: ThreadPoolExecutor
    worker: Workers
    calls: Calls
    gatekeeper: Gatekeeper
    limits: Limits
    metrics: Metrics
    audit: AuditLog
    webhooks: Webhooks


def parts_of(connection: HTTPConnection) -> Parts:
    """The parts of the application that ``connection`` came to."""
    return cast(Parts, connection.app.state.parts)
