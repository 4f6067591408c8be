"""All calls, live and ended: how they begin, are found again, and end.

Everything here runs on the event loop; what blocks is done in :attr:`Calls.blocking`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from streamsv.engine import EnrollmentSession
from streamsv.errors import AuthenticationError, ProtocolError, ResumeWindowOver
from streamsv.events import EnrollmentCompleted, ScoreUpdated
from streamsv.server import background, closing
from streamsv.server.access import LOCAL_KEY_ID, Principal
from streamsv.server.admission import Admission
from streamsv.server.call import STOPPED, Call, Connection
from streamsv.server.closing import Closing
from streamsv.server.config import ServeConfig
from streamsv.server.limits import Limits
from streamsv.server.messages import Resume, Start
from streamsv.server.opening import Opener
from streamsv.server.streams import Said, Stream
from streamsv.server.worker import Report, Workers

__all__ = ["Call", "Calls", "Connection"]

log = logging.getLogger("streamsv.server")

EventCallback = Callable[[Call, dict[str, Any]], None]
EndCallback = Callable[[Call], None]

_SWEEP_S = 0.5


class Calls:
    """The registry.

    Parameters
    ----------
    config:
        Bounds and times.
    opener:
        Makes sessions and voiceprints.
    limits:
        What one key and one address may have.
    keep:
        Stores the voiceprint of a finished enrollment; called in ``blocking``.
    blocking:
        The thread for all that reads or writes voiceprints.
    """

    def __init__(
        self,
        config: ServeConfig,
        opener: Opener,
        limits: Limits,
        keep: Callable[[Call, EnrollmentSession], None],
        blocking: ThreadPoolExecutor,
    ) -> None:
        self._config = config
        self._opener = opener
        self._limits = limits
        self._keep = keep
        self.blocking = blocking
        self._calls: dict[str, Call] = {}
        self._live: dict[str, Call] = {}
        self._by_token: dict[bytes, Call] = {}
        self._by_stream: dict[Stream, Call] = {}
        self._opening = 0
        self._event_callbacks: list[EventCallback] = []
        self._end_callbacks: list[EndCallback] = []
        self._tasks: set[asyncio.Future[Any]] = set()
        self._storing: dict[Call, asyncio.Event] = {}
        self._workers: Workers
        self._admission: Admission
        self.is_draining = False

    def use(self, workers: Workers, admission: Admission) -> None:
        """Give the threads that run the sessions, and what says whether they have room."""
        self._workers, self._admission = workers, admission

    def on_event(self, callback: EventCallback) -> None:
        """Call ``callback(call, fields)`` on the loop for each event of each call but its running
        scores.
        """
        self._event_callbacks.append(callback)

    def on_end(self, callback: EndCallback) -> None:
        """Call ``callback(call)`` on the loop when a call has ended."""
        self._end_callbacks.append(callback)

    def get(self, session_id: str) -> Call | None:
        """The call, live or ended not long ago."""
        return self._calls.get(session_id)

    @property
    def live(self) -> list[Call]:
        """The calls that have not ended."""
        return list(self._live.values())

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    async def open(self, start: Start, principal: Principal, peer: str) -> Call:
        """A new call. Raises CapacityError, UnknownSpeaker and what else forbids it."""
        principal.require(start.scope)
        with contextlib.ExitStack() as releases:
            releases.enter_context(self._limits.session(principal, peer))
            admitted = self._admission.admit(len(self._live) + self._opening)
            self._opening += 1
            try:
                loop = asyncio.get_running_loop()
                opened = await loop.run_in_executor(self.blocking, self._opener.open, start)
                worker = self._workers.idlest()
                call = Call(start, principal, peer, opened, worker, self._config)
            except BaseException:
                self._admission.take_back(admitted)
                raise
            finally:
                self._opening -= 1
            call.releases = releases.pop_all()
        self._calls[call.session_id] = call
        self._live[call.session_id] = call
        if call.stream is not None:
            self._by_stream[call.stream] = call
            worker.add(call.stream)
        for fields in call.events_after(0):
            self._publish(call, fields)
        return call

    def resume(self, start: Start, principal: Principal) -> Call:
        """The call whose token ``start.resume`` shows.

        Raises ResumeWindowOver if there is none, and AuthenticationError for another key's or one
        without the scope.
        """
        token = "" if start.resume is None else start.resume.token
        call = self._by_token.get(_digest(token))
        if call is None:
            raise ResumeWindowOver(
                "This session is not known here: it ended, its window is over, or the server was "
                "restarted. Start another one."
            )
        if call.owner != principal.key_id:
            raise AuthenticationError("This session belongs to another key. Use that one.")
        principal.require(start.scope)  # a ticket is for less than its key
        if (start.audio, start.mode) != (call.start.audio, call.start.mode):
            raise ProtocolError("audio: a session is resumed in the mode and format it began in.")
        return call

    def attach(self, call: Call, connection: Connection, resume: Resume | None) -> list[str]:
        """:meth:`Call.attach`; the tokens that are good from now on are known here."""
        before = list(call.tokens)
        if resume is None:
            texts = call.attach(connection, 0)
        else:
            texts = call.attach(connection, resume.last_seq, resume.token)
        self._update_tokens(call, before)
        return texts

    def confirm(self, call: Call) -> None:
        """:meth:`Call.confirm`."""
        before = list(call.tokens)
        call.confirm()
        self._update_tokens(call, before)

    async def remove(self, session_id: str) -> None:
        """End the call if it is live, and forget all about it.

        A voiceprint that is being stored by then is stored: it was agreed to by ``stop``.
        """
        call = self._calls.get(session_id)
        if call is not None:
            if call in self._storing:
                await self._storing[call].wait()
            if call.is_live:
                call.end_reason = "deleted"
            self._let_go(call, Closing(closing.DONE))
            self._forget(call)

    def finish(self, call: Call, reason: str, why: Closing | None = None) -> None:
        """:meth:`Call.finish`; an enrollment that ends other than by ``stop`` is cancelled.

        Who broke off has not agreed to a voiceprint of what was heard until then.
        """
        if call.mode == "enroll" and reason != STOPPED:
            if call.end_reason is None:
                call.end_reason = reason
                self._let_go(call, why or Closing(closing.DONE))
            return
        call.finish(reason, why)

    def fail(self, call: Call, why: Closing) -> None:
        """End the call here and now."""
        self._let_go(call, why)

    def revoke(self, principal: Principal) -> None:
        """End the sessions of a key that is no longer good."""
        for call in self.live:
            if call.principal == principal:
                sentence = (
                    "There is an API key now, and this session began without one. Use it."
                    if call.owner == LOCAL_KEY_ID
                    else "The API key was revoked. Use another one."
                )
                error = AuthenticationError(sentence)
                self._let_go(call, closing.because_of(error, call.session_id))

    def keep_task(self, work: asyncio.Future[Any]) -> None:
        """Wait for ``work`` before the server ends, and log an error that it ends by."""
        background.watch("Work for a session", work)
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    def deliver(self, reports: list[Report]) -> None:
        """What a round of a worker did."""
        for report in reports:
            call = self._by_stream.get(report.stream)
            if call is None:
                continue
            try:
                self._take(call, report)
            except Exception as error:  # noqa: BLE001 - a call fails alone, whatever it was
                self._let_go(call, closing.because_of(error, call.session_id))

    def _take(self, call: Call, report: Report) -> None:
        if report.is_over and report.failure is None and call.mode == "enroll":
            self._spawn(self._end_enrollment(call, report))
            return
        self._tell(call, report.said)
        if report.failure is not None:
            self._let_go(call, closing.because_of(report.failure, call.session_id))
        elif report.is_over:
            self._let_go(call, call.closing or Closing(closing.DONE))
        else:
            call.go_on()

    async def sweep(self) -> None:
        """End what has waited, idled or lasted too long, and forget what is old; for ever."""

        async def look() -> None:
            now = time.monotonic()
            for call in self.live:
                try:
                    self._end_if_due(call, now)
                except Exception as error:  # noqa: BLE001 - the others are due all the same
                    self._let_go(call, closing.because_of(error, call.session_id))
            self._forget_old(now)

        await background.repeat("Ending calls that are due", _SWEEP_S, look)

    async def drain(self, limit_s: float) -> None:
        """No new sessions; wait for the live ones, at most ``limit_s``, then close them 1012."""
        self.is_draining = True
        deadline = time.monotonic() + limit_s
        while self._live and time.monotonic() < deadline:
            if not any(call.connection is not None for call in self.live):
                break
            await asyncio.sleep(0.05)
        for call in self.live:
            if call in self._storing:
                continue  # it ends by itself, and is waited for below
            call.end_reason = "restarting"
            self._let_go(
                call, closing.closed(closing.RESTARTING, "restarting", "the server restarts.")
            )
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def _end_if_due(self, call: Call, now: float) -> None:
        media = self._config.media
        if call.dropped_at is not None and now - call.dropped_at > media.resume_s:
            self.finish(call, "connection_lost")
        elif now - call.opened_at > media.session_s:
            sentence = f"a session lasts {media.session_s:g} s at most."
            why = closing.closed(closing.TOO_LONG, "too_long", sentence)
            self.finish(call, "too_long", why)

    async def _end_enrollment(self, call: Call, report: Report) -> None:
        """The voiceprint is stored before anybody is told that there is one; none is stored of a
        session that was not stopped.
        """
        why = call.closing or Closing(closing.DONE)
        if call.end_reason != STOPPED:
            self._let_go(call, why)
        if not call.is_live:
            return
        session = report.stream.session
        is_completed = any(isinstance(each.event, EnrollmentCompleted) for each in report.said)
        if is_completed and isinstance(session, EnrollmentSession):
            call.went_to_store = True
            self._storing[call] = stored = asyncio.Event()
            failure: Exception | None = None
            try:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self.blocking, self._keep, call, session)
            except Exception as error:  # noqa: BLE001 - the caller is told, and the log has it
                failure = error
            finally:
                del self._storing[call]
                stored.set()
            if failure is not None:
                self._let_go(call, closing.because_of(failure, call.session_id))
                return
        self._tell(call, report.said)
        self._let_go(call, why)

    def _tell(self, call: Call, found: list[Said]) -> None:
        if not found or not call.is_live:
            return
        call.take(found)
        for each in found:
            if type(each.event) is not ScoreUpdated:
                self._publish(call, each.fields)

    def _publish(self, call: Call, fields: dict[str, Any]) -> None:
        for callback in self._event_callbacks:
            try:
                callback(call, fields)
            except Exception:
                log.exception("A listener failed on an event of session %s.", call.session_id)

    def _let_go(self, call: Call, why: Closing) -> None:
        if not call.is_live or call in self._storing:
            return  # what is being stored ends when it is known whether there is a voiceprint
        if call.stream is not None:
            self._by_stream.pop(call.stream, None)
            call.worker.discard()
        call.end(why)
        self._live.pop(call.session_id, None)
        if why.error is not None:
            self._publish(call, why.error.to_dict())
        for callback in self._end_callbacks:
            try:
                callback(call)
            except Exception:
                log.exception("A listener failed on the end of session %s.", call.session_id)

    def _forget_old(self, now: float) -> None:
        ended = [call for call in self._calls.values() if call.ended_mono is not None]
        ended.sort(key=lambda call: call.ended_mono or 0.0)
        excess = len(ended) - self._config.results.max_kept
        for n, call in enumerate(ended):
            age_s = now - (call.ended_mono or 0.0)
            if n < excess or age_s > self._config.results.kept_s:
                self._forget(call)
            elif age_s > self._config.media.resume_s:
                self._drop_events(call)

    def _forget(self, call: Call) -> None:
        self._drop_events(call)
        self._calls.pop(call.session_id, None)

    def _drop_events(self, call: Call) -> None:
        before = list(call.tokens)
        call.forget_events()
        self._update_tokens(call, before)

    def _update_tokens(self, call: Call, before: list[str]) -> None:
        for token in before:
            self._by_token.pop(_digest(token), None)
        for token in call.tokens:
            self._by_token[_digest(token)] = call

    def _spawn(self, work: Any) -> None:
        self.keep_task(asyncio.get_running_loop().create_task(work))


def _digest(token: str) -> bytes:
    """Tokens are looked up by their digest, so that no comparison tells how much was right."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
