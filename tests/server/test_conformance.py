"""The cases of the Autobahn test suite, run by kosoku: what the bare ``websockets`` library passes,
this server passes with its own settings, and its media socket answers all of them as documented.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kosoku import FailureError, run_fuzzingclient
from starlette.routing import WebSocketRoute
from websockets.asyncio.server import serve as serve_bare
from websockets.exceptions import ConnectionClosed

from streamsv.server import wire
from streamsv.server.door import Message, Receive, Scope, Send
from streamsv.server.media import MediaEndpoint

AT_ONCE = 16
LEFT_OUT = ["9.3.*", "9.4.*", "9.5.*", "9.6.*", "12.*", "13.*"]
"""Messages of megabytes, which are too large here, and compression, which is off."""
AUDIO = {"encoding": "mulaw", "sample_rate": 8000}
START = json.dumps({"type": "start", "speakers": ["alice"], "audio": AUDIO})
CODES: dict[str, set[int | None]] = {
    "1.1": {1007},  # text, but no JSON
    "1.2": {1003},  # audio
    "2": {1000},  # pings are answered, until the client closes
    "2.5": {1002},
    "3": {1002, 1007},  # a bad frame, in some cases after text that is no JSON
    "4": {1002, 1007},
    "5": {1002, 1007},
    "6": {1007},  # text, UTF-8 or not, but no JSON
    "7.1": {1000, 1002, 1007},
    "7.3": {1000, 1002, None},  # None: the client gave no code, and is given none
    "7.5": {1007},
    "7.9": {1002},
    "7.13": {1002},
}
"""How a case may end at the media socket, by the longest beginning of its name."""
CASES = ["1.1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*"]


@pytest.fixture(scope="module", autouse=True)
def as_it_was() -> Iterator[None]:
    """kosoku puts stand-ins for other packages on the path; later tests must not meet them."""
    yield
    inside = f"{os.sep}kosoku{os.sep}"
    sys.path[:] = [entry for entry in sys.path if inside not in entry + os.sep]
    for name, module in list(sys.modules.items()):
        if inside in (getattr(module, "__file__", None) or "") and not name.startswith("kosoku"):
            del sys.modules[name]


class Echo:
    """Every message back. ``is_tapped``: messages come the short way that audio takes."""

    def __init__(self, is_tapped: bool) -> None:
        self._is_tapped = is_tapped

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if self._is_tapped:
            await self._tapped(scope["extensions"][wire.EXTENSION], receive, send)
            return
        while (message := await receive())["type"] != "websocket.disconnect":
            data = message.get("bytes")
            await self._answer(send, message["text"] if data is None else data)

    async def _tapped(self, short: wire.Wire, receive: Receive, send: Send) -> None:
        heard: asyncio.Queue[bytes | str] = asyncio.Queue()
        short.tap(heard.put_nowait)

        async def answer() -> None:
            while True:
                await self._answer(send, await heard.get())

        answering = asyncio.create_task(answer())
        await receive()
        answering.cancel()

    async def _answer(self, send: Send, message: bytes | str) -> None:
        kind = "bytes" if isinstance(message, bytes) else "text"
        await send({"type": "websocket.send", kind: message})


async def bare_echo(socket: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            await socket.send(message)


class InACall:
    """The media socket, when the client has sent ``start`` already."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        before: list[Message] = [
            await receive(),
            {"type": "websocket.receive", "text": START},
        ]

        async def next_message() -> Message:
            return before.pop(0) if before else await receive()

        await MediaEndpoint()(scope, next_message, send)


async def results_of(
    url: str, cases: list[str] | None = None, at_once: int = AT_ONCE
) -> dict[str, Any]:
    try:
        found = await run_fuzzingclient(url, cases, LEFT_OUT, at_once)
    except FailureError as failed:
        found = failed.results
    return {each.case_id: each for each in found}


async def results_in_time(
    url: str, is_good: Callable[[Any], bool], cases: list[str] | None = None
) -> dict[str, Any]:
    """Cases that are not good are tried once more, alone: kosoku waits for one second, which may
    be too short for a busy machine.
    """
    found = await results_of(url, cases)
    again = [case for case, each in found.items() if not is_good(each)]
    return {**found, **(await results_of(url, again, 1) if again else {})}


@pytest.mark.parametrize("is_tapped", [False, True], ids=["by ASGI", "the short way"])
def test_what_the_bare_library_passes_is_passed(serve: Any, is_tapped: bool) -> None:
    live = serve()
    live.server._app.router.routes.insert(0, WebSocketRoute("/echo", Echo(is_tapped)))

    async def run() -> tuple[dict[str, Any], dict[str, Any]]:
        media = live.config.media
        async with serve_bare(
            bare_echo, "127.0.0.1", 0, max_size=media.max_message_bytes, compression=None
        ) as bare:
            port = bare.sockets[0].getsockname()[1]
            wanted = await results_of(f"ws://127.0.0.1:{port}")
        url = f"ws://127.0.0.1:{live.port}/echo"
        return wanted, await results_in_time(url, lambda each: is_as_good(each, wanted))

    wanted, found = asyncio.run(run())
    assert len(wanted) > 260
    worse = {
        case: (each.behavior.value, each.behavior_close.value, each.result, each.result_close)
        for case, each in found.items()
        if not is_as_good(each, wanted)
    }
    assert worse == {}


@pytest.mark.parametrize("is_in_a_call", [False, True], ids=["at first", "in a call"])
def test_the_media_socket_ends_every_case_with_its_documented_code(
    serve: Any, is_in_a_call: bool
) -> None:
    live = serve()
    live.server._app.router.routes.insert(0, WebSocketRoute("/in-a-call", InACall()))
    url = f"ws://127.0.0.1:{live.port}/in-a-call" if is_in_a_call else live.url
    # In a call binary messages are audio, which is heard and not answered.
    cases = CASES if is_in_a_call else ["1.2.*", *CASES]
    found = asyncio.run(results_in_time(url, ends_as_documented, cases))
    assert len(found) > 230
    wrong = {
        case: (each.remote_close_code, each.remote_close_reason)
        for case, each in found.items()
        if not ends_as_documented(each)
    }
    assert wrong == {}


def is_as_good(each: Any, wanted: dict[str, Any]) -> bool:
    return each.passed or not wanted[each.case_id].passed


def ends_as_documented(each: Any) -> bool:
    if each.case_id.startswith("7.7."):
        return each.remote_close_code == each.local_close_code  # the client's own, and a good one
    parts = each.case_id.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return each.remote_close_code in next(CODES[name] for name in names if name in CODES)
