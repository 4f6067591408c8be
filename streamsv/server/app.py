"""The application: every part made once, every route in its place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

import streamsv.config
from streamsv.engine import Engine, EngineConfig, EnrollmentSession
from streamsv.errors import StoreError
from streamsv.events import DecisionMade, EnrollmentCompleted, EnrollmentRefused
from streamsv.server import access, background, media, observer, webpage
from streamsv.server.access import Gatekeeper
from streamsv.server.admission import Admission
from streamsv.server.audit import FILE_NAME as AUDIT_FILE_NAME
from streamsv.server.audit import AuditLog
from streamsv.server.calls import Call, Calls
from streamsv.server.config import ServeConfig
from streamsv.server.enrollments import Caller, store_voiceprint
from streamsv.server.headers import SecurityHeaders
from streamsv.server.keys import FILE_NAME as KEYS_FILE_NAME
from streamsv.server.keys import KeyStore
from streamsv.server.limits import Limits
from streamsv.server.metrics import Metrics
from streamsv.server.moderation import Moderator
from streamsv.server.opening import Opener
from streamsv.server.parts import Parts
from streamsv.server.rest.install import install
from streamsv.server.results import CANCELLED
from streamsv.server.tickets import Tickets
from streamsv.server.webhooks import Webhooks
from streamsv.server.worker import Workers
from streamsv.voiceprints import VoiceprintStore, default_store_path

log = logging.getLogger("streamsv.server")

_LOOP_CHECK_S = 0.25
_MEASURED_STEPS = 4
_MEASURED_BATCH = 32


def create_app(config: ServeConfig | None = None) -> FastAPI:
    """The ASGI application that ``config`` describes.

    The model, the store, the keys and the audit log are opened here, so that what is wrong with
    them is said before anything listens. Raises what opening them raises.
    """
    config = config or ServeConfig()
    engine_config = (
        EngineConfig()
        if config.engine is None
        else streamsv.config.load(EngineConfig, Path(config.engine).expanduser())
    )
    engine = Engine.load(engine_config)
    store_path = store_path_of(config)
    store = VoiceprintStore(store_path, tells_names=False)
    keys = KeyStore(keys_path_of(config))
    audit = AuditLog(
        config.audit.path or store_path.with_name(AUDIT_FILE_NAME), config.audit.max_bytes
    )
    limits = Limits(config.limits)
    gatekeeper = Gatekeeper(keys, Tickets(), limits, config.allowed_origins)
    metrics = Metrics(engine.encoder.hop_samples / engine.encoder.sample_rate)
    webhooks = Webhooks(config.webhooks, metrics)
    opener = Opener(engine, store, config)

    def keep(call: Call, session: EnrollmentSession) -> None:
        voiceprint = opener.voiceprint(session, call.start)
        by = Caller(call.owner, call.peer, call.session_id)
        store_voiceprint(store, audit, voiceprint, call.start.may_replace, by=by)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as closers:
            closers.callback(store.close)
            closers.callback(keys.close)
            blocking = ThreadPoolExecutor(1, thread_name_prefix="streamsv-store")
            closers.callback(blocking.shutdown)
            # Of its own: when many calls end together, keys are still looked up at once.
            recording = ThreadPoolExecutor(1, thread_name_prefix="streamsv-audit")
            closers.callback(recording.shutdown)
            calls = Calls(config, opener, limits, keep, blocking)
            workers = Workers(engine.encoder, config.worker, metrics, calls.deliver, loop)
            session_cost = await asyncio.to_thread(_measured_cost, engine)
            admission = Admission(
                config.admission, lambda: workers.load, session_cost, config.worker.threads
            )
            calls.use(workers, admission)
            app.state.parts = Parts(
                config,
                engine,
                store,
                blocking,
                workers,
                calls,
                gatekeeper,
                limits,
                metrics,
                audit,
                webhooks,
            )
            _connect(calls, metrics, audit, recording)
            calls.on_event(webhooks.take)
            calls.on_end(webhooks.take_end)
            workers.start()
            moderator = Moderator(loop, workers)
            moderator.start()
            webhooks.start()
            tasks = [
                background.begin("The watch over calls that are due", calls.sweep()),
                background.begin("The watch over the event loop", _watch_loop(admission)),
                background.begin("The watch over keys", _watch_keys(calls, gatekeeper)),
            ]
            try:
                yield
            finally:
                moderator.stop()
                await calls.drain(0.0)
                await webhooks.stop()
                for task in tasks:
                    task.cancel()
                await asyncio.to_thread(workers.stop)

    app = FastAPI(
        title="streamsv",
        version=streamsv.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    install(app)
    app.add_middleware(SecurityHeaders)
    if config.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.router.routes += [media.route(), observer.route(), *webpage.routes()]
    return app


def store_path_of(config: ServeConfig) -> Path:
    """The store that ``config`` names, or that of this user."""
    return default_store_path() if config.store is None else Path(config.store).expanduser()


def keys_path_of(config: ServeConfig) -> Path:
    """The file of keys that ``config`` names, or the one beside the store."""
    if config.keys is not None:
        return Path(config.keys).expanduser()
    return store_path_of(config).with_name(KEYS_FILE_NAME)


def _measured_cost(engine: Engine) -> float:
    """Seconds of work for a second of unbroken speech of one session more, in a batch.

    The network is run here, which also warms it up; the rest of the way is taken to cost as much.
    """
    encoder = engine.encoder
    pcm = np.zeros((_MEASURED_BATCH, encoder.hop_samples), np.float32)
    state = encoder.initial_state(_MEASURED_BATCH)
    seconds = []
    for _ in range(_MEASURED_STEPS):
        began = time.perf_counter()
        encoder.step(pcm, state)
        seconds.append(time.perf_counter() - began)
    hops_per_s = encoder.sample_rate / encoder.hop_samples
    return 2 * min(seconds) * hops_per_s / _MEASURED_BATCH


def _connect(
    calls: Calls, metrics: Metrics, audit: AuditLog, recording: ThreadPoolExecutor
) -> None:
    """Tell whoever counts, records and calls back what happens to the calls."""

    def count(call: Call, fields: dict[str, object]) -> None:
        match fields["type"]:
            case "session_started":
                metrics.session_started(call.mode)
            case DecisionMade.type:
                metrics.verdict(str(fields["verdict"]))
                record(call)  # at once: a process that is killed must not lose an acceptance
            case EnrollmentCompleted.type:
                metrics.enrollment("completed")
            case EnrollmentRefused.type:
                metrics.enrollment(str(fields["reason"]))

    def record(call: Call) -> None:
        if outcomes := _not_audited(call):
            loop = asyncio.get_running_loop()
            calls.keep_task(loop.run_in_executor(recording, _record, audit, call, outcomes))

    def end(call: Call) -> None:
        metrics.session_ended(call.mode)
        if call.result().get("enrollment", {}).get("outcome") == CANCELLED:
            metrics.enrollment("failed" if call.end_reason == "failed" else "cancelled")
        record(call)

    calls.on_event(count)
    calls.on_end(end)


def _not_audited(call: Call) -> list[tuple[str | None, str]]:
    """What came of a call and is in no record yet: a speaker and a decision each, or of an
    enrollment that came to nothing; one that went to the store was recorded there.
    """
    result = call.result()
    if call.mode == "enroll":
        error = result["error"]
        outcome = error["code"] if error else result["enrollment"]["outcome"].lower()
        return [] if call.went_to_store else [(call.start.speakers[0], outcome)]
    found = [(each["speaker"], each["decision"]) for each in result["decisions"]]
    if call.is_live:  # what is not decided yet may still be
        found = [each for each, of in zip(found, result["decisions"], strict=True) if of["verdict"]]
    new = [(speaker, said) for speaker, said in found if call.audited.get(speaker) != said]
    call.audited.update(new)
    return new


def _record(audit: AuditLog, call: Call, outcomes: list[tuple[str | None, str]]) -> None:
    for speaker, outcome in outcomes:
        try:
            audit.record(
                call.mode,
                key_id=call.owner,
                peer=call.peer,
                speaker=speaker,
                session_id=call.session_id,
                outcome=outcome,
            )
        except StoreError as error:
            log.error("What came of a session could not be audited: %s", error.message)


async def _watch_loop(admission: Admission) -> None:
    """How long the event loop takes to come round: work of its own delays audio, too."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(_LOOP_CHECK_S)
        late_s = max(0.0, time.monotonic() - began - _LOOP_CHECK_S)
        admission.loop_delay_s += 0.2 * (late_s - admission.loop_delay_s)


async def _watch_keys(calls: Calls, gatekeeper: Gatekeeper) -> None:
    """End the sessions of keys that were revoked; for ever."""

    async def look() -> None:
        for principal in {call.principal for call in calls.live}:
            try:
                is_good = await asyncio.to_thread(gatekeeper.still_valid, principal)
            except StoreError as error:  # somebody holds the file: the next look is soon
                log.error("Revoked keys could not be looked for: %s", error.message)
                return
            if not is_good:
                calls.revoke(principal)

    await background.repeat("Looking for revoked keys", access.RECHECK_S, look)
