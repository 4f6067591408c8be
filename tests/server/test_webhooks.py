"""Webhooks arrive signed, in order, after retries, at a real HTTP server; and end in bounds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import email.utils
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from streamsv.audio import AudioFormat
from streamsv.client.webhooks import verify_webhook
from streamsv.errors import AuthenticationError, ConfigError, ProtocolError
from streamsv.server.config import WebhookEndpoint, WebhooksConfig
from streamsv.server.delivery import is_public, seconds_of
from streamsv.server.metrics import Metrics
from streamsv.server.webhooks import Webhooks, signature

SECRET = "correct-horse-battery-staple"


@dataclasses.dataclass
class FakeCall:
    session_id: str
    call_id: str | None = "call-1"
    mode: str = "verify"

    def result(self) -> dict[str, Any]:
        return {"status": "ended"}


class Receiver:
    """A small HTTP server that answers as it is told, and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[int], bytes] = lambda _n: b"HTTP/1.1 204 No Content\r\n\r\n"
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = [line.partition(": ") for line in head.splitlines()[1:] if line]
            headers = {name.lower(): value for name, _, value in lines}
            body = await reader.readexactly(int(headers["content-length"]))
            self.got.append((headers, body))
            writer.write(self.answer(len(self.got)))
            await writer.drain()
        writer.close()

    @property
    def ids(self) -> list[str]:
        return [headers["streamsv-delivery"] for headers, _ in self.got]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return str(path)


def webhooks_to(
    port: int, secret_file: str, metrics: Metrics, allow_private: bool = True, **values: Any
) -> Webhooks:
    scheme = "http" if allow_private else "https"
    endpoint = WebhookEndpoint(
        f"{scheme}://127.0.0.1:{port}/hook?a=1", secret_file, allow_private=allow_private
    )
    settings = {"first_retry_s": 0.01, "longest_retry_s": 0.02, "timeout_s": 2.0, "drain_s": 5.0}
    return Webhooks(WebhooksConfig((endpoint,), **(settings | values)), metrics)


def decision(seq: int) -> dict[str, Any]:
    return {"type": "decision_made", "seq": seq, "verdict": "accept"}


def outcome(metrics: Metrics, name: str) -> float:
    found = metrics.registry.get_sample_value("streamsv_webhooks_total", {"outcome": name})
    return found or 0.0


def test_a_webhook_arrives_signed_and_is_verified_by_the_client(secret_file: str) -> None:
    async def run() -> None:
        async with receiving() as receiver:
            hooks = webhooks_to(receiver.port, secret_file, Metrics())
            hooks.start()
            call = FakeCall("s1")
            hooks.take(call, {"type": "score_updated", "seq": 1})
            hooks.take(call, decision(2))
            hooks.take(call, {"type": "session_ended", "seq": 3})
            hooks.take_end(call)
            await hooks.stop()
            assert receiver.ids == ["s1-2", "s1-end"]
            headers, body = receiver.got[0]
            found = verify_webhook(body, headers, SECRET)
            assert (found["id"], found["type"], found["call_id"]) == (
                "s1-2",
                "decision_made",
                "call-1",
            )
            assert found["event"]["verdict"] == "accept"
            at, _, given = headers["streamsv-signature"].partition(",v1=")
            signed = at.removeprefix("t=").encode() + b"." + body
            assert given == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
            assert json.loads(receiver.got[1][1])["result"] == {"status": "ended"}

    asyncio.run(run())


def test_retries_keep_the_id_and_the_order_of_a_session(secret_file: str) -> None:
    async def run() -> None:
        async with receiving() as receiver:
            failures = [
                b"HTTP/1.1 500 Oh\r\n\r\n",
                b"HTTP/1.1 429 Slow\r\nRetry-After: 0\r\n\r\n",
                b"nonsense\r\n\r\n",
                b"",
            ]
            receiver.answer = lambda n: (
                failures[n - 1] if n <= len(failures) else b"HTTP/1.1 200 OK\r\n\r\n"
            )
            metrics = Metrics()
            hooks = webhooks_to(receiver.port, secret_file, metrics)
            hooks.start()
            for seq in range(1, 6):
                hooks.take(FakeCall("s1"), decision(seq))
            await hooks.stop()
            assert receiver.ids == ["s1-1"] * 5 + [f"s1-{n}" for n in range(2, 6)]
            assert len({body for _, body in receiver.got[:5]}) == 1
            assert outcome(metrics, "delivered") == 5

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "attempts"), [(500, 3), (404, 1), (301, 1), (302, 1), (410, 1), (408, 3)]
)
def test_what_is_refused_for_good_is_not_repeated_and_no_redirect_is_followed(
    secret_file: str, status: int, attempts: int
) -> None:
    async def run() -> None:
        async with receiving() as receiver:
            receiver.answer = lambda _n: (
                f"HTTP/1.1 {status} No\r\nLocation: http://127.0.0.1:{receiver.port}/x\r\n\r\n"
            ).encode()
            metrics = Metrics()
            hooks = webhooks_to(receiver.port, secret_file, metrics, attempts=3)
            hooks.start()
            hooks.take(FakeCall("s1"), decision(1))
            await hooks.stop()
            assert receiver.ids == ["s1-1"] * attempts
            assert outcome(metrics, "given_up") == 1

    asyncio.run(run())


def test_too_many_that_wait_are_dropped_and_counted_and_the_end_has_a_limit(
    secret_file: str,
) -> None:
    async def run() -> None:
        metrics = Metrics()
        hooks = webhooks_to(
            9,
            secret_file,
            metrics,
            max_waiting=3,
            drain_s=0.1,
            first_retry_s=60,
            longest_retry_s=60,
        )
        hooks.start()
        for seq in range(1, 6):
            hooks.take(FakeCall("s1"), decision(seq))
        assert hooks.waiting == 3
        await asyncio.wait_for(hooks.stop(), 3)
        assert outcome(metrics, "dropped") == 5

    asyncio.run(run())


def test_a_private_address_is_not_called_unless_allowed(secret_file: str) -> None:
    async def run() -> None:
        async with receiving() as receiver:
            metrics = Metrics()
            hooks = webhooks_to(
                receiver.port, secret_file, metrics, allow_private=False, attempts=1
            )
            hooks.start()
            hooks.take(FakeCall("s1"), decision(1))
            await hooks.stop()
            assert receiver.got == []
            assert outcome(metrics, "given_up") == 1

    asyncio.run(run())
    private = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "0.0.0.0")
    assert not any(is_public(a) for a in (*private, "::ffff:10.0.0.1", "224.0.0.1", "2002:a00::1"))
    assert is_public("93.184.215.14")
    assert is_public("2606:4700::1111")


def test_a_server_that_never_answers_costs_no_more_than_the_timeout(secret_file: str) -> None:
    async def run() -> None:
        async with receiving() as receiver:
            receiver.answer = lambda _n: b"HTTP/1.1 "
            metrics = Metrics()
            silent = await asyncio.start_server(lambda _r, _w: asyncio.sleep(60), "127.0.0.1", 0)
            port = silent.sockets[0].getsockname()[1]
            hooks = webhooks_to(port, secret_file, metrics, attempts=1, timeout_s=0.2)
            hooks.start()
            hooks.take(FakeCall("s1"), decision(1))
            await asyncio.wait_for(hooks.stop(), 3)
            assert outcome(metrics, "given_up") == 1
            silent.close()

    asyncio.run(run())


def test_a_signature_that_is_wrong_old_or_missing_is_refused() -> None:
    body, now = b'{"id": "x"}', 1_700_000_000
    good = signature(body, SECRET, now)
    assert verify_webhook(body, good, SECRET, now=now + 299) == {"id": "x"}
    rotated = f"{good},v1={'0' * 64}"
    assert verify_webhook(body, rotated, SECRET, now=now) == {"id": "x"}
    for changed, header, secret, at in (
        (b'{"id": "y"}', good, SECRET, now),
        (body, good, "another secret", now),
        (body, good, SECRET, now + 301),
        (body, good, SECRET, now - 301),
        (body, good.replace("t=1", "t=2"), SECRET, now),
        (body, "", SECRET, now),
        (body, "t=1", SECRET, now),
        (body, f"t={now},v1=", SECRET, now),
        (body, f"t={now},v1=é", SECRET, now),
        (body, f"t={now},v1=\udcff", SECRET, now),
    ):
        with pytest.raises(AuthenticationError):
            verify_webhook(changed, header, secret, now=at)
    with pytest.raises(ProtocolError):
        verify_webhook(b"no json", signature(b"no json", SECRET, now), SECRET, now=now)


@pytest.mark.parametrize(
    "values",
    [
        {"url": "http://example.com/x"},
        {"url": "ftp://example.com"},
        {"url": "https://user:pass@example.com"},
        {"url": "https://example.com/a b"},
        {"url": "no url"},
        {"url": "https://example.com", "events": ("score_updated",)},
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.endpoints"):
        WebhookEndpoint(**{"secret_file": "s", **values})


def test_a_secret_must_be_there_and_long_enough(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("hunter2")
    for file in (short, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="secret"):
            webhooks_to(1, str(file), Metrics())


def test_a_real_call_ends_in_a_verified_result(
    serve: Callable[..., Any], desk: Any, voice: Any, secret_file: str
) -> None:
    async def run() -> None:
        async with receiving() as receiver:
            endpoint = WebhookEndpoint(
                f"http://127.0.0.1:{receiver.port}/", secret_file, allow_private=True
            )
            live = await asyncio.to_thread(
                lambda: serve(webhooks=WebhooksConfig((endpoint,), drain_s=2.0))
            )
            audio = AudioFormat("s16le", 16_000)
            data = desk.encoded(voice("voice_a_call", 8.0), audio)
            heard = await desk.whole_call(
                live, desk.start_of(audio, "alice", mode="verify", call_id="c7"), data
            )
            while len(receiver.got) < 2:
                await asyncio.sleep(0.02)
            found = [verify_webhook(body, headers, SECRET) for headers, body in receiver.got]
            assert [each["type"] for each in found] == ["decision_made", "session_ended"]
            (decided,) = heard.of("decision_made")
            assert found[0]["event"] == decided
            assert found[0]["call_id"] == "c7"
            assert found[1]["result"]["status"] == "ended"
            assert found[1]["result"]["decisions"][0]["speaker"] == "alice"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_retry_after_is_seconds_or_a_date() -> None:
    now = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
    for given, wanted in (
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-3", 0.0),
        ("1e9", 86_400.0),
        ("inf", 86_400.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ):
        assert seconds_of(given, now) == wanted, given


def test_a_date_to_come_back_at_is_waited_for_up_to_the_longest_pause(secret_file: str) -> None:
    async def run() -> None:
        async with receiving() as receiver:
            loop = asyncio.get_running_loop()
            came: list[float] = []

            def answer(n: int) -> bytes:
                came.append(loop.time())
                later = email.utils.formatdate(time.time() + 3600, usegmt=True)
                refusal = f"HTTP/1.1 503 Busy\r\nRetry-After: {later}\r\n\r\n".encode()
                return refusal if n == 1 else b"HTTP/1.1 200 OK\r\n\r\n"

            receiver.answer = answer
            metrics = Metrics()
            hooks = webhooks_to(
                receiver.port, secret_file, metrics, first_retry_s=0.01, longest_retry_s=0.4
            )
            hooks.start()
            hooks.take(FakeCall("s1"), decision(1))
            await hooks.stop()
            assert outcome(metrics, "delivered") == 1
            assert came[1] - came[0] >= 0.39

    asyncio.run(run())
