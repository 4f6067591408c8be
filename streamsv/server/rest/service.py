"""Health and figures: ``/livez``, ``/readyz``, ``/metrics`` and ``/v1/info``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

import streamsv
from streamsv.engine import Engine
from streamsv.errors import StreamsvError
from streamsv.server.access import is_local_name
from streamsv.server.door import peer_of
from streamsv.server.limits import is_loopback
from streamsv.server.metrics import CONTENT_TYPE
from streamsv.server.rest.asking import PartsHere, who_asks
from streamsv.server.rest.problems import Json, described, problem

router = APIRouter(tags=["service"])

_PROBE_EVERY_S = 1.0
_PROBE_TIMEOUT_S = 5.0


class Probe:
    """Runs the model over a hop of silence, at most once a second however often it is asked."""

    def __init__(self) -> None:
        self._asked_at = -_PROBE_EVERY_S
        self._running: asyncio.Future[bool] | None = None

    async def is_well(self, engine: Engine) -> bool:
        """Whether the model gave a finite embedding in time."""
        now = time.monotonic()
        if self._running is None or (
            self._running.done() and now - self._asked_at >= _PROBE_EVERY_S
        ):
            self._asked_at = now
            self._running = asyncio.ensure_future(asyncio.to_thread(_steps, engine))
        try:
            return await asyncio.wait_for(asyncio.shield(self._running), _PROBE_TIMEOUT_S)
        except TimeoutError:
            return False


def _steps(engine: Engine) -> bool:
    encoder = engine.encoder
    silence = np.zeros((1, encoder.hop_samples), np.float32)
    try:
        embedding, _ = encoder.step(silence, encoder.initial_state())
    except StreamsvError:
        return False
    return bool(np.isfinite(embedding).all())


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Is the process alive?", response_model=dict[str, str])
async def livez() -> Response:
    """It answers, so it is."""
    return Json({"status": "alive"})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="May calls be sent here?",
    response_model=dict[str, str],
    responses=described(503),
)
async def readyz(request: Request, parts: PartsHere) -> Response:
    """The model runs, so do the threads that run it for calls, and the server is not draining."""
    if parts.calls.is_draining:
        return problem(503, "draining", "The server is about to end. Send calls elsewhere.")
    probe: Probe = request.app.state.probe
    if not (parts.worker.are_well and await probe.is_well(parts.engine)):
        return problem(503, "not_ready", "The model does not run. The log says more.")
    return Json({"status": "ready"})


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    responses=described(401, 403, 429, 503),
)
async def metrics(request: Request, parts: PartsHere) -> Response:
    """For an admin key; also for this machine, or everybody, as `rest.metrics_access` says."""
    access = parts.config.rest.metrics_access
    host = request.headers.get("host")
    # A page that pointed its own name at this machine is not "here", however near its browser is.
    is_here = is_loopback(peer_of(request.scope)) and is_local_name(host)
    if access == "everybody":
        await asyncio.to_thread(parts.gatekeeper.check_host, host)
    elif access != "loopback" or not is_here:
        (await who_asks(request, parts)).principal.require("admin")
    return Response(await asyncio.to_thread(parts.metrics.exposition), media_type=CONTENT_TYPE)


@router.get(
    "/v1/info",
    summary="What a client may want to know first",
    responses=described(403, 503),
)
async def info(request: Request, parts: PartsHere) -> dict[str, Any]:
    """Which version it is, whether a key is needed, and the model's fingerprint."""
    await asyncio.to_thread(parts.gatekeeper.check_host, request.headers.get("host"))
    return {
        "version": streamsv.__version__,
        "needs_key": not await asyncio.to_thread(lambda: parts.gatekeeper.is_open),
        "fingerprint": parts.engine.fingerprint,
        "requires_consent": parts.config.require_consent,
    }
