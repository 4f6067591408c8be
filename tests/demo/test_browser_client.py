"""The JavaScript client in a real browser, against a real server: the same promises as Python's."""

from __future__ import annotations

import asyncio

import pytest

from streamsv.client import Client
from streamsv.errors import CapacityError, LimitReached

pytestmark = pytest.mark.needs_chromium

AUDIO = "{ encoding: 's16le', sample_rate: 8000, channels: 1 }"


def opened(browse, served, clips):
    """A browser on the page of a server that knows Ana."""
    asyncio.run(Client(served.url).enroll_files("Ana", [clips.path("voice_a_enroll")]))
    browser = browse(clips.pcm("voice_a_call"))
    browser.open(served.url)
    browser.until("document.querySelector('#voiceprint-list li')")
    return browser


def in_stream(browser, body):
    """What the JavaScript ``body`` returns; ``stream`` is one that verifies Ana."""
    return browser.run(
        "import('./page/streamsv.js').then(async ({ Client }) => {"
        f"const stream = new Client().verify(['Ana'], {AUDIO}); {body} }})"
    )


def test_a_gap_of_more_than_a_minute_pushes_out_no_sound(browse, served, clips):
    browser = opened(browse, served, clips)
    in_stream(
        browser,
        "stream.send(new Uint8Array(160000)); stream.gap(30000); stream.gap(45000);"
        "stream.stop(); return stream.done;",
    )
    (call,) = served.calls
    gaps = [each["gap_s"] for each in call.events_after(0) if each["type"] == "audio_gap"]
    assert gaps == [75.0]
    assert call.received_frames == 8000 * 85


def test_a_session_that_is_deleted_before_it_has_said_how_it_ended_is_an_error(
    browse, served, clips
):
    browser = opened(browse, served, clips)
    said = in_stream(
        browser,
        "stream.onEvent = (event) => {"
        "  if (event.type !== 'session_started') return;"
        "  fetch(`v1/sessions/${event.session_id}`, { method: 'DELETE' });"
        "};"
        "return stream.done.then(() => 'done', (error) => error.code);",
    )
    assert said == "session_closed"


def test_a_source_that_can_wait_loses_nothing_that_was_not_sent(browse, served, clips):
    browser = opened(browse, served, clips)
    in_stream(
        browser,
        "for (let n = 0; n < 90; n += 1) stream.send(new Uint8Array(16000));"
        "stream.stop(); return stream.done;",
    )
    (call,) = served.calls
    assert not [each for each in call.events_after(0) if each["type"] == "audio_gap"]
    assert call.received_frames == 8000 * 90


def test_a_connection_that_works_off_a_backlog_is_not_taken_for_dead(browse, served, clips):
    browser = opened(browse, served, clips)
    found = in_stream(
        browser,
        "await new Promise((open) => { stream.onEvent = open; });"
        "stream.isLive = true; stream.outbox.end += 30 * 8000;"  # what an outage leaves behind
        "const found = []; const look = () => { stream.checkAlive(); found.push(stream.isOpen); };"
        "look();"
        "stream.outbox.sent = 8000;"
        "stream.receive(JSON.stringify({ type: 'received', received_samples: 8000 })); look();"
        "stream.heardAt -= 8001; look();"  # nothing was acknowledged for so long
        "stream.cancel(); return found;",
    )
    assert found == [True, True, False]


@pytest.mark.parametrize("refusal", [LimitReached, CapacityError])  # 429 and 503
def test_a_ticket_that_is_refused_for_a_while_is_asked_for_again_when_the_server_wants(
    browse, served, clips, monkeypatch, refusal
):
    key = served.add_key("enroll", "verify")
    asyncio.run(Client(served.url, key).enroll_files("Ana", [clips.path("voice_a_enroll")]))
    browser = browse(clips.pcm("voice_a_call"))
    browser.open(served.url)
    browser.run(
        "import('./page/streamsv.js').then(async ({ Client }) => {"
        f"const client = new Client({{ key: () => '{key}' }}); await client.info();"
        f"window.stream = client.verify(['Ana'], {AUDIO}); stream.send(new Uint8Array(16000)); }})"
    )
    browser.until("stream.isOpen && stream.waitingS === 0")

    def refuse(*_):
        raise refusal("No more tickets.", 2.0)

    asked = (
        "performance.getEntriesByType('resource')"
        ".filter((each) => each.name.endsWith('/v1/tickets')).map((each) => each.startTime)"
    )
    with monkeypatch.context() as patched:
        patched.setattr(served.server._app.state.parts.gatekeeper._tickets, "issue", refuse)
        served.cut()
        browser.until(f"{asked}.length === 2")
    browser.run("stream.send(new Uint8Array(16000)); stream.stop(); stream.done")
    assert browser.run("stream.reconnections") == 1
    _, refused_at, granted_at = browser.run(asked)
    assert granted_at - refused_at >= 2000
    (call,) = served.calls
    assert call.received_frames == 8000 * 2
