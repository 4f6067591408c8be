"""REST over a real socket: enroll, list, delete, tickets, health; every error in one shape."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from streamsv.server import keys as files_of_keys
from streamsv.server.audit import read
from streamsv.server.config import LimitsConfig, RestConfig
from streamsv.server.keys import KeyStore

BOUNDARY = "cut-here"


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.body = response.read()

    @property
    def fields(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert set(self.fields) == {"error"}
        assert {"code", "message", "value"} <= set(self.fields["error"])
        return str(self.fields["error"]["code"])


def ask(
    live: Any,
    method: str,
    path: str,
    body: Any = None,
    key: str | None = None,
    **headers: str,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["Authorization"] = f"Bearer {key}"
    try:
        connection.request(method, path, body, sent)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def flac(pcm: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, pcm, rate, format="FLAC")
    return file.getvalue()


def form(*files: bytes, **fields: str) -> dict[str, Any]:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for n, data in enumerate(files):
        head = f'form-data; name="file"; filename="take {n}.flac"'
        parts.append(
            f"--{BOUNDARY}\r\nContent-Disposition: {head}\r\n"
            "Content-Type: audio/flac\r\n\r\n".encode()
            + data
            + b"\r\n"
        )
    parts.append(f"--{BOUNDARY}--\r\n".encode())
    return {
        "body": b"".join(parts),
        "Content_Type": f"multipart/form-data; boundary={BOUNDARY}",
    }


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    with KeyStore(tmp_path / "keys.db") as store:
        return {scope: store.create([scope]).key for scope in ("enroll", "verify", "admin")}


def audited(tmp_path: Path) -> list[tuple[str, str | None, str]]:
    return [(r["action"], r["speaker"], r["outcome"]) for r in read(tmp_path / "audit.jsonl")]


def test_enroll_list_show_and_delete(
    serve: Callable[..., Any], voice: Any, keys: dict[str, str], tmp_path: Path
) -> None:
    live, key = serve(), keys["enroll"]
    speaker = quote("bob/Zoë", safe="")
    sent = form(flac(voice("voice_b_call")), consent_by="Bob", consent_purpose="opening the door")
    made = ask(live, "POST", f"/v1/voiceprints/{speaker}", key=key, **sent)
    assert made.status == 201, made.body
    assert made.fields["voiceprint"]["consent"]["by"] == "Bob"
    assert made.fields["feedback"][0]["type"] == "enrollment_progress"
    assert "embedding" not in made.body.decode()
    shown = ask(live, "GET", f"/v1/voiceprints/{speaker}", key=key)
    assert shown.fields == made.fields["voiceprint"]
    first = ask(live, "GET", "/v1/voiceprints?limit=1", key=key).fields
    assert [each["speaker"] for each in first["voiceprints"]] == ["alice"]
    rest = ask(live, "GET", f"/v1/voiceprints?after={first['next']}", key=key).fields
    assert [each["speaker"] for each in rest["voiceprints"]] == ["bob/Zoë"]
    assert rest["next"] is None
    again = ask(live, "POST", f"/v1/voiceprints/{speaker}", key=key, **sent)
    assert (again.status, again.code) == (409, "voiceprint_exists")
    gone = ask(live, "DELETE", f"/v1/voiceprints/{speaker}", key=key)
    assert (gone.status, gone.body) == (204, b"")
    assert ask(live, "GET", f"/v1/voiceprints/{speaker}", key=key).code == "unknown_speaker"
    assert audited(tmp_path) == [
        ("enroll", "bob/Zoë", "requested"),
        ("enroll", "bob/Zoë", "stored"),
        ("delete", "bob/Zoë", "requested"),
        ("delete", "bob/Zoë", "deleted"),
    ]


def test_replacing_keeps_the_first_date_and_the_consent(
    serve: Callable[..., Any], voice: Any, keys: dict[str, str]
) -> None:
    live, key = serve(), keys["enroll"]
    before = ask(live, "GET", "/v1/voiceprints/alice", key=key).fields
    made = ask(
        live,
        "POST",
        "/v1/voiceprints/alice?replace=true&consent_by=Alice&consent_purpose=calls",
        flac(voice("voice_a_call")),
        key,
        Content_Type="audio/flac",
    )
    assert made.status == 201, made.body
    found = made.fields["voiceprint"]
    assert found["created_at"] == before["created_at"]
    assert found["updated_at"] > before["updated_at"]
    assert found["consent"]["purpose"] == "calls"


def test_a_refusal_says_how_each_stretch_was(
    serve: Callable[..., Any], voice: Any, keys: dict[str, str], tmp_path: Path
) -> None:
    live, key = serve(), keys["enroll"]
    short = ask(
        live, "POST", "/v1/voiceprints/carl", key=key, **form(flac(voice("voice_b_call", 2.5)))
    )
    assert (short.status, short.code) == (422, "not_enough_speech")
    assert short.fields["error"]["feedback"][0]["feedback"] in ("ok", "too_short")
    two = form(flac(voice("voice_a_call", 8.0)), flac(voice("voice_b_call", 8.0)))
    mixed = ask(live, "POST", "/v1/voiceprints/carl", key=key, **two)
    assert (mixed.status, mixed.code) == (422, "inconsistent_enrollment")
    noise = ask(live, "POST", "/v1/voiceprints/carl", key=key, **form(b"no sound at all"))
    assert (noise.status, noise.code) == (422, "unsupported_audio")
    assert noise.fields["error"]["value"] == "take 0.flac"
    assert "/proc" not in noise.body.decode()
    assert [outcome for _, _, outcome in audited(tmp_path)] == [
        "not_enough_speech",
        "inconsistent_enrollment",
        "unsupported_audio",
    ]


def test_uploads_have_bounds(serve: Callable[..., Any], voice: Any, keys: dict[str, str]) -> None:
    rest = RestConfig(max_upload_bytes=400_000, max_recording_s=30.0, max_recordings=2, upload_s=1)
    live, key = serve(rest=rest), keys["enroll"]

    def upload(body: Any, **headers: str) -> Answer:
        return ask(live, "POST", "/v1/voiceprints/carl", body, key, **headers)

    assert upload(bytes(400_001), Content_Type="audio/wav").code == "too_large"
    chunked = (bytes(50_000) for _ in range(20))
    assert upload(chunked, Content_Type="audio/wav").code == "too_large"
    silence = flac(np.zeros(31 * 16_000, np.float32))
    assert len(silence) < 100_000
    long = upload(silence, Content_Type="audio/flac")
    assert (long.status, long.code) == (422, "unsupported_audio")
    small = flac(voice("voice_b_call", 1.0))
    assert upload(**form(small, small, small)).code == "bad_request"
    assert upload(b"{}", Content_Type="application/json").code == "unsupported_media_type"
    assert upload(b"", Content_Type="audio/wav").code == "bad_request"
    assert upload(b"x", Content_Type="multipart/form-data").code == "bad_request"
    with socket.create_connection(("127.0.0.1", live.port), 10) as slow:
        head = f"POST /v1/voiceprints/carl HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
        slow.sendall(f"{head}Content-Type: audio/wav\r\nContent-Length: 1000\r\n\r\nRIFF".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_nobody_gets_in_before_the_key_is_right_and_no_body_is_read(
    serve: Callable[..., Any], keys: dict[str, str]
) -> None:
    live = serve()
    with socket.create_connection(("127.0.0.1", live.port), 10) as stranger:
        stranger.sendall(
            b"POST /v1/voiceprints/x HTTP/1.1\r\nHost: h\r\nContent-Type: audio/wav\r\n"
            b"Content-Length: 1000000\r\n\r\n"
        )
        answer = stranger.recv(1000)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"www-authenticate: bearer" in answer.lower()
    for key, status in ((None, 401), ("ssv_x_y", 401), (keys["verify"], 403)):
        for method, path in (
            ("GET", "/v1/voiceprints"),
            ("GET", "/v1/voiceprints/alice"),
            ("DELETE", "/v1/voiceprints/alice"),
            ("POST", "/v1/voiceprints/alice"),
        ):
            assert ask(live, method, path, key=key).status == status
    assert ask(live, "GET", "/v1/voiceprints", key=keys["admin"]).status == 200
    page = ask(live, "GET", "/v1/voiceprints", key=keys["admin"], Origin="https://evil.example")
    assert (page.status, page.code) == (403, "not_allowed")


def test_a_key_that_is_revoked_is_refused_at_its_next_request(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    with KeyStore(tmp_path / "keys.db") as store:
        made = store.create(["enroll"])
        live = serve()
        assert ask(live, "GET", "/v1/voiceprints", key=made.key).status == 200
        store.revoke(made.record.id)
        assert ask(live, "GET", "/v1/voiceprints", key=made.key).status == 401


def test_too_many_wrong_keys_are_told_to_wait(
    serve: Callable[..., Any], keys: dict[str, str]
) -> None:
    live = serve(limits=LimitsConfig(failures_per_address=3))
    statuses = [ask(live, "GET", "/v1/voiceprints", key="wrong").status for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    last = ask(live, "GET", "/v1/voiceprints", key="wrong")
    assert (last.code, last.headers["retry-after"]) == ("limit_reached", "20")
    assert ask(live, "GET", "/v1/voiceprints", key=keys["enroll"]).status == 200


def test_nothing_is_enrolled_or_deleted_that_cannot_be_audited(
    serve: Callable[..., Any],
    voice: Any,
    keys: dict[str, str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    live, key = serve(), keys["enroll"]
    log = tmp_path / "audit.jsonl"
    log.unlink()
    log.mkdir()
    for method, path, sent in (
        ("DELETE", "/v1/voiceprints/alice", {}),
        ("POST", "/v1/voiceprints/carl", form(flac(voice("voice_b_call")))),
    ):
        answer = ask(live, method, path, key=key, **sent)
        assert (answer.status, answer.code) == (503, "store")
        assert str(log) not in answer.body.decode()
    assert str(log) in caplog.text
    assert ask(live, "GET", "/v1/voiceprints/alice", key=key).status == 200
    assert ask(live, "GET", "/v1/voiceprints/carl", key=key).status == 404


def test_a_deletion_that_is_not_erased_yet_says_so_and_is_audited_so(
    serve: Callable[..., Any], keys: dict[str, str], tmp_path: Path
) -> None:
    live, key = serve(), keys["enroll"]
    live.parts.store._database._busy_timeout_s = 0.1
    reader = sqlite3.connect(tmp_path / "voiceprints.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM voiceprints").fetchall()
    answer = ask(live, "DELETE", "/v1/voiceprints/alice", key=key)
    assert (answer.status, answer.code) == (503, "not_erased")
    assert "is deleted" in answer.fields["error"]["message"]
    assert str(tmp_path) not in answer.body.decode()
    assert ask(live, "GET", "/v1/voiceprints/alice", key=key).status == 404
    outcomes = [outcome for action, _, outcome in audited(tmp_path) if action == "delete"]
    assert outcomes == ["requested", "not_erased"]
    reader.close()


def test_consent_can_be_required(
    serve: Callable[..., Any], voice: Any, keys: dict[str, str]
) -> None:
    live, key = serve(require_consent=True), keys["enroll"]
    sound = flac(voice("voice_b_call"))
    for fields in ({}, {"consent_by": "Bob"}, {"consent_at": "now"}):
        refused = ask(live, "POST", "/v1/voiceprints/bob", key=key, **form(sound, **fields))
        assert (refused.status, refused.code) == (422, "config")
    given = form(sound, consent_by="Bob", consent_purpose="calls", consent_given_at="2025-01-31")
    made = ask(live, "POST", "/v1/voiceprints/bob", key=key, **given)
    assert made.fields["voiceprint"]["consent"]["given_at"] == "2025-01-31"


def test_a_result_is_for_the_key_that_opened_the_session_and_for_admins(
    serve: Callable[..., Any], voice: Any, desk: Any, keys: dict[str, str], tmp_path: Path
) -> None:
    with KeyStore(tmp_path / "keys.db") as store:
        other = store.create(["verify"]).key
    live = serve()
    data = desk.encoded(voice("voice_a_call", 6.0), desk_format())

    async def call() -> str:
        headers = {"Authorization": f"Bearer {keys['verify']}"}
        async with live.open(additional_headers=headers) as media:
            await media.send(desk.start_of(desk_format(), "alice", type="start", mode="verify"))
            await media.send(data)
            await media.send(json.dumps({"type": "stop"}))
            heard = await desk.read_to_end(media, desk.Heard([]))
            return str(heard.events[0]["session_id"])

    path = f"/v1/sessions/{asyncio.run(call())}"
    found = ask(live, "GET", path, key=keys["verify"])
    assert found.fields["status"] == "ended"
    assert found.fields["decisions"][0]["decision"] in ("ACCEPT", "REJECT", "UNDECIDED")
    assert ask(live, "GET", path, key=keys["admin"]).status == 200
    assert ask(live, "GET", path, key=other).code == "unknown_session"
    assert ask(live, "DELETE", path, key=other).status == 404
    assert ask(live, "DELETE", path, key=keys["verify"]).status == 204
    assert ask(live, "GET", path, key=keys["verify"]).status == 404


def desk_format() -> Any:
    from streamsv.audio import AudioFormat

    return AudioFormat("s16le", 16_000)


def test_a_ticket_opens_one_socket(
    serve: Callable[..., Any], desk: Any, keys: dict[str, str]
) -> None:
    live = serve()
    body = json.dumps({"scope": "verify"})
    made = ask(live, "POST", "/v1/tickets", body, keys["verify"], Content_Type="application/json")
    assert (made.status, made.fields["expires_in_s"]) == (201, 30.0)

    async def first_event() -> str:
        protocols = ["streamsv.v1", f"streamsv.ticket.{made.fields['ticket']}"]
        async with live.open(subprotocols=protocols) as media:
            assert media.subprotocol == "streamsv.v1"
            with contextlib.suppress(ConnectionClosed):
                await media.send(desk.start_of(desk_format(), "alice", mode="verify"))
            return str(json.loads(await media.recv())["type"])

    assert asyncio.run(first_event()) == "session_started"
    assert asyncio.run(first_event()) == "error"
    for wrong, code in (
        ('{"scope": "enroll"}', "not_allowed"),
        ('{"scope": "root"}', "config"),
        ('{"scope": ["verify"]}', "config"),
        ('{"scope": "verify", "scope": "verify"}', "protocol"),
        ("[" * 1000, "protocol"),
        ("{" + " " * 20_000 + "}", "too_large"),
    ):
        refused = ask(
            live, "POST", "/v1/tickets", wrong, keys["verify"], Content_Type="application/json"
        )
        assert refused.code == code, wrong[:40]


def test_a_ticket_to_verify_does_not_go_on_with_an_enrollment(
    serve: Callable[..., Any], desk: Any, tmp_path: Path
) -> None:
    live = serve()
    with KeyStore(tmp_path / "keys.db") as store:
        key = store.create(["enroll", "verify"]).key
    body = json.dumps({"scope": "verify"})
    made = ask(live, "POST", "/v1/tickets", body, key, Content_Type="application/json")
    start = {"mode": "enroll"}

    async def run() -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with live.open(additional_headers=headers) as media:
            await media.send(desk.start_of(desk_format(), "bob", **start))
            token = json.loads(await media.recv())["resume_token"]
            media.transport.abort()
        protocols = ["streamsv.v1", f"streamsv.ticket.{made.fields['ticket']}"]
        async with live.open(subprotocols=protocols) as media:
            resume = {"token": token, "last_seq": 1}
            await media.send(desk.start_of(desk_format(), "bob", **start, resume=resume))
            return dict(json.loads(await media.recv()))

    said = asyncio.run(run())
    assert (said["type"], said["code"]) == ("error", "not_allowed")


def test_an_acceptance_is_audited_when_it_is_said_and_not_again(
    serve: Callable[..., Any], desk: Any, voice: Any, tmp_path: Path
) -> None:
    live = serve()
    speech = desk.encoded(voice("voice_a_call"), desk_format())

    def verified() -> list[tuple[str, str | None, str]]:
        return [each for each in audited(tmp_path) if each[0] == "verify"]

    async def run() -> None:
        async with live.open() as media:
            await media.send(desk.start_of(desk_format(), "alice", mode="verify"))
            for n in range(0, len(speech), 3200):
                await media.send(speech[n : n + 3200])
            while json.loads(await media.recv())["type"] != "decision_made":
                pass
            deadline = time.monotonic() + 5
            while not verified():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            assert live.parts.calls.live
            await media.send('{"type": "stop"}')
            await desk.read_to_end(media, desk.Heard([]))

    asyncio.run(run())
    live.stop()
    ((_, speaker, outcome),) = verified()
    assert (speaker, outcome) == ("alice", "ACCEPT")


def test_it_is_not_ready_once_an_engine_thread_has_ended(
    serve: Callable[..., Any], desk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    live = serve()
    (worker,) = live.parts.worker._workers

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    worker._count = fail

    async def run() -> None:
        async with live.open() as media:
            await media.send(desk.start_of(desk_format(), "alice", mode="verify"))
            await media.send(b"\xff" * 3200)
            deadline = time.monotonic() + 5
            while worker.is_well:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)

    asyncio.run(run())
    answer = ask(live, "GET", "/readyz")
    assert (answer.status, answer.code) == (503, "not_ready")
    assert "An engine thread has ended" in caplog.text


def test_health_and_figures(serve: Callable[..., Any], keys: dict[str, str]) -> None:
    live = serve(rest=RestConfig(metrics_access="admin"))
    assert ask(live, "GET", "/livez").status == 200
    assert ask(live, "GET", "/readyz").fields == {"status": "ready"}
    assert ask(live, "GET", "/v1/info").fields["needs_key"] is True
    assert ask(live, "GET", "/metrics").status == 401
    assert ask(live, "GET", "/metrics", key=keys["verify"]).status == 403
    found = ask(live, "GET", "/metrics", key=keys["admin"])
    families = {family.name for family in text_string_to_metric_families(found.body.decode())}
    assert {"streamsv_packet_to_score_seconds", "streamsv_sessions"} <= families
    live.parts.calls.is_draining = True
    draining = ask(live, "GET", "/readyz")
    assert (draining.status, draining.code) == (503, "draining")
    assert int(draining.headers["retry-after"]) >= 1
    assert ask(live, "GET", "/livez").status == 200


def test_every_error_has_one_shape_and_every_answer_the_headers(
    serve: Callable[..., Any],
) -> None:
    live = serve()
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/v1/voiceprints", 405, "method_not_allowed"),
        ("GET", "/v1/voiceprints?limit=0", 422, "invalid"),
        ("GET", "/v1/voiceprints?limit=a", 422, "invalid"),
        ("GET", "/v1/voiceprints/%20x", 422, "config"),
        ("GET", "/v1/voiceprints/nobody", 404, "unknown_speaker"),
        ("GET", "/v1/voiceprints/%ff%fe", 404, "unknown_speaker"),
        ("DELETE", "/v1/voiceprints/", 422, "config"),
        ("GET", "/v1/sessions/none", 404, "unknown_session"),
        ("POST", "/v1/tickets", 415, "unsupported_media_type"),
    ):
        answer = ask(live, method, path)
        assert (answer.status, answer.code) == (status, code), path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


def test_a_page_elsewhere_cannot_use_a_server_without_keys(serve: Callable[..., Any]) -> None:
    live = serve()
    assert ask(live, "GET", "/v1/voiceprints").status == 200
    assert ask(live, "GET", "/v1/voiceprints", Origin="null").status == 403
    assert ask(live, "GET", "/v1/voiceprints", Host="evil.example").status == 403


def test_a_live_session_that_is_deleted_ends_as_deleted_and_not_as_failed(
    serve: Callable[..., Any], desk: Any
) -> None:
    live = serve()
    ended: list[dict[str, Any]] = []
    live.parts.calls.on_end(lambda call: ended.append(call.result()))

    async def run() -> Any:
        async with live.open() as media:
            await media.send(desk.start_of(desk_format(), "alice"))
            first = json.loads(await media.recv())
            path = f"/v1/sessions/{first['session_id']}"
            assert (await asyncio.to_thread(ask, live, "DELETE", path)).status == 204
            return await asyncio.wait_for(desk.read_to_end(media, desk.Heard([first])), 5)

    assert asyncio.run(run()).code == 1000
    assert [(each["status"], each["end_reason"]) for each in ended] == [("ended", "deleted")]


def test_a_body_that_never_comes_is_not_waited_for(
    serve: Callable[..., Any], keys: dict[str, str]
) -> None:
    live = serve(media={"handshake_s": 0.5})
    head = f"POST /v1/tickets HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {keys['verify']}\r\n"
    with socket.create_connection(("127.0.0.1", live.port), 10) as slow:
        slow.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{".encode()
        )
        answer = slow.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_name_that_was_pointed_at_this_machine_reads_nothing_of_it(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    live = serve()
    paths = ("/metrics", "/v1/info", "/v1/voiceprints", "/v1/sessions/none")
    for path in paths:
        answer = ask(live, "GET", path, Host="evil.example")
        assert (answer.status, answer.code) == (403, "not_allowed"), path
        assert ask(live, "GET", path, Host=f"localhost:{live.port}").status in (200, 404)
    with KeyStore(tmp_path / "keys.db") as store:
        admin = store.create(["admin"]).key
    # With keys the server has names of its own; only what is for "this machine" asks for its name.
    assert ask(live, "GET", "/v1/info", Host="voice.example").status == 200
    assert ask(live, "GET", "/metrics", Host="evil.example").status == 401
    assert ask(live, "GET", "/metrics", key=admin, Host="voice.example").status == 200
    assert ask(live, "GET", "/metrics").status == 200


def test_figures_for_everybody_are_for_no_name_that_was_pointed_here_while_there_is_no_key(
    serve: Callable[..., Any],
) -> None:
    live = serve(rest=RestConfig(metrics_access="everybody"))
    assert ask(live, "GET", "/metrics").status == 200
    assert ask(live, "GET", "/metrics", Host="evil.example").status == 403


def test_a_page_of_an_allowed_origin_gets_a_ticket_and_no_other_page_does(
    serve: Any, tmp_path: Path
) -> None:
    with KeyStore(tmp_path / "keys.db") as store:
        key = store.create(["verify"]).key
    live = serve(allowed_origins=["https://desk.example.com"])
    wanted = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization, content-type",
    }
    for origin, is_allowed in (
        ("https://desk.example.com", True),
        ("https://evil.example.com", False),
    ):
        preflight = ask(live, "OPTIONS", "/v1/tickets", Origin=origin, **wanted)
        assert (preflight.status == 200) == is_allowed
        body = json.dumps({"scope": "verify"})
        answer = ask(
            live, "POST", "/v1/tickets", body, key, Origin=origin, Content_Type="application/json"
        )
        assert answer.status == (201 if is_allowed else 403)
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == (origin if is_allowed else None)


def test_a_file_of_keys_that_cannot_be_read_tells_strangers_nothing_of_this_machine(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files_of_keys, "_BUSY_TIMEOUT_S", 0.05)
    with KeyStore(tmp_path / "keys.db") as store:
        store.create(["verify"])
    live = serve()
    other = sqlite3.connect(tmp_path / "keys.db")
    other.execute("BEGIN EXCLUSIVE")
    answer = ask(live, "GET", "/v1/voiceprints", key="ssv_0123456789ab_nothing")
    other.rollback()
    other.close()
    assert (answer.status, answer.code) == (503, "store")
    assert str(tmp_path) not in answer.body.decode()
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_may_ask_for_the_head_alone(serve: Any, path: str) -> None:
    answer = ask(serve(), "HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
