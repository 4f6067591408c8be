"""Work beside the requests, for as long as the server runs: no failure of it goes unsaid."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

log = logging.getLogger("streamsv.server")


async def repeat(what: str, every_s: float, step: Callable[[], Awaitable[None]]) -> None:
    """Do ``step`` every ``every_s`` seconds, for ever. One that fails is logged, as ``what``."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await step()
        except Exception:
            log.exception("%s failed; it is tried again in %g s.", what, every_s)


def begin(what: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that does ``work``; if it ends by an error, the log has it, as ``what``."""
    task = asyncio.create_task(work)
    watch(what, task)
    return task


def watch(what: str, work: asyncio.Future[Any]) -> None:
    """Log the error that ``work`` ends by, if it does."""

    def look(ended: asyncio.Future[Any]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.error("%s ended by an error.", what, exc_info=error)

    work.add_done_callback(look)
