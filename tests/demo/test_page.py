"""The page in a real browser with real voices, to the verdict."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs_chromium

ROOT = Path(__file__).resolve().parents[2]
PHONE, DESKTOP = (390, 844), (1100, 900)


def enroll(browser, name="Ana"):
    """What a visitor does first, here with the keyboard alone."""
    browser.press("Tab")
    browser.type(name)
    browser.press("Tab")
    browser.press(" ")
    browser.press("Tab")
    browser.press("Enter")
    browser.until("!document.querySelector('#enroll-live').hidden")
    browser.until("document.querySelector('#enroll-progress').value > 4")


def enroll_from_file(browser, clips):
    browser.until("!document.querySelector('#enroll-card').hidden")
    browser.click("#name")
    browser.type("Ana")
    browser.click("#consent")
    browser.choose_file("#enroll-file", clips.path("voice_a_enroll"))
    browser.until("!document.querySelector('#verify-card').hidden")


def talk(browser):
    """The button has the focus: after the enrollment, and after each try."""
    browser.until("document.activeElement.id === 'verify-start'")
    browser.press("Enter")
    browser.until("!document.querySelector('#verify-live').hidden")
    browser.until("document.querySelector('#speech.is-speech')")


def verdict(browser):
    """The class of the first verdict: accept, reject or undecided."""
    browser.until(
        "document.querySelector('.verdict.accept, .verdict.reject, .verdict.undecided')", 60
    )
    return browser.run("document.querySelector('.verdict').classList[1]")


@pytest.mark.slow
def test_a_visitor_enrolls_talks_and_is_recognized_within_a_minute(browse, served, clips):
    browser = browse(clips.pcm("voice_a_enroll"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    browser.until("!document.querySelector('#enroll-card').hidden")
    browser.screenshot("1-first-look-light")
    enroll(browser)
    browser.screenshot("2-enrolling-light")
    browser.until("!document.querySelector('#verify-card').hidden", 60)
    browser.screenshot("3-enrolled-light")
    talk(browser)
    browser.until("document.querySelector('.why').innerText.includes('so far')")
    browser.screenshot("4-talking-light")
    assert verdict(browser) == "accept"
    assert "Yes, this is Ana’s voice" in browser.text("#verdicts")
    assert "times as likely from Ana" in browser.text("#verdicts")
    browser.until("!document.querySelector('#verify-buttons').hidden", 30)
    for scheme in ("light", "dark"):
        browser.look(*DESKTOP, scheme)
        browser.screenshot(f"5-accepted-{scheme}")
        browser.look(*PHONE, scheme)
        browser.screenshot(f"5-accepted-phone-{scheme}")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.look(*DESKTOP)
    browser.choose_file("#verify-file", clips.path("voice_b_call"))
    browser.until("document.querySelector('#verify-buttons').hidden")
    assert verdict(browser) != "accept"
    browser.until("!document.querySelector('#verify-buttons').hidden", 30)
    browser.screenshot("6-other-voice-light")
    browser.look(*PHONE, "dark")
    browser.screenshot("6-other-voice-phone-dark")
    assert (
        len(browser.run("[...document.querySelectorAll('#tries li')].map((e) => e.innerText)")) == 2
    )
    assert browser.errors == []


@pytest.mark.slow
def test_voiceprints_come_from_recordings_too_and_can_be_deleted(browse, served, clips):
    browser = browse(clips.pcm("voice_b_call"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    browser.until("!document.querySelector('#enroll-card').hidden")
    for name, clip in (("Ana", "voice_a_enroll"), ("Ben", "voice_b_call")):
        if name == "Ben":
            browser.click("#enroll-more")
        browser.run("document.querySelector('#name').value = ''")
        browser.click("#name")
        browser.type(name)
        if name == "Ana":
            browser.click("#consent")
        browser.choose_file("#enroll-file", clips.path(clip))
        browser.until(f"document.querySelector('#voiceprint-list')?.innerText.includes('{name}')")
    browser.run("document.querySelector('#voiceprint-list li:first-child input').click()")
    browser.choose_file("#verify-file", clips.path("voice_a_call"))
    browser.until("document.querySelectorAll('.verdict.accept').length === 1", 40)
    browser.until("!document.querySelector('#verify-buttons').hidden", 40)
    browser.screenshot("7-two-claims-light")
    assert "Yes, this is Ana’s voice" in browser.text("#verdicts")
    assert "Yes, this is Ben" not in browser.text("#verdicts")
    browser.click("#voiceprint-list li:first-child button")
    assert "Really delete" in browser.text("#voiceprint-list")
    browser.click("#voiceprint-list li:first-child button")
    browser.until("document.querySelectorAll('#voiceprint-list li').length === 1")
    assert "Ana" not in browser.text("#voiceprint-list")
    assert browser.errors == []


@pytest.mark.slow
def test_a_connection_that_breaks_is_resumed_and_nothing_is_lost(browse, served, clips):
    browser = browse(clips.pcm("voice_a_call"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    enroll_from_file(browser, clips)
    browser.run(
        "window.said = []; new MutationObserver(() => said.push(document.querySelector("
        "'#connection').textContent)).observe(document.querySelector('#connection'),"
        "{ childList: true })"
    )

    def scored(least: int) -> None:
        """Cut the connection when the page has shown so many seconds of speech."""
        browser.until(
            f"parseFloat(document.querySelector('#clock').innerText.split('·')[1]) > {least}"
        )
        served.cut()

    for cuts in ((), (1, 3)):
        browser.choose_file("#verify-file", clips.path("voice_a_call"))
        browser.until("document.querySelector('#verify-buttons').hidden")
        for least in cuts:
            scored(least)
        browser.until("!document.querySelector('#verify-buttons').hidden", 60)
    whole, broken = (call.events_after(0) for call in served.calls[-2:])
    assert [(each["seq"], each["type"], each["at_s"]) for each in broken] == [
        (each["seq"], each["type"], each["at_s"]) for each in whole
    ]
    for each, other in zip(broken, whole, strict=True):
        for score, wanted in zip(each.get("scores", []), other.get("scores", []), strict=True):
            assert score["llr"] == pytest.approx(wanted["llr"], abs=1e-3)
    assert any("trying to connect again" in said for said in browser.run("said"))

    talk(browser)
    scored(1)
    verdict(browser)
    browser.until("!document.querySelector('#verify-buttons').hidden", 60)
    heard = served.calls[-1].events_after(0)
    assert "audio_gap" not in {each["type"] for each in heard}
    assert heard[-1]["type"] == "session_ended"
    assert [call.mode for call in served.calls] == ["enroll", "verify", "verify", "verify"]
    assert browser.errors == []


@pytest.mark.slow
def test_a_server_that_is_no_longer_heard_is_asked_again_and_the_call_goes_on(
    browse, served, network, clips
):
    between = network(served)
    browser = browse(clips.pcm("voice_a_call"))
    browser.look(*DESKTOP)
    browser.open(between.url)
    enroll_from_file(browser, clips)
    talk(browser)
    between.deafen()
    assert verdict(browser) == "accept"
    browser.until("!document.querySelector('#verify-buttons').hidden", 60)
    _, call = served.calls
    heard = call.events_after(0)
    assert call.result()["end_reason"] == "stopped"
    assert "audio_gap" not in {each["type"] for each in heard}
    assert heard[-1]["type"] == "session_ended"
    assert heard[-1]["at_s"] > 8
    assert browser.errors == []


@pytest.mark.slow
def test_while_a_voice_is_tried_no_voiceprint_can_be_deleted(browse, served, clips):
    browser = browse(clips.pcm("voice_a_call"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    enroll_from_file(browser, clips)
    talk(browser)
    for _ in range(2):
        browser.click("#voiceprint-list li button")
    assert browser.run("document.querySelector('#voiceprint-list button').disabled")
    assert verdict(browser) == "accept"
    browser.until("!document.querySelector('#verify-buttons').hidden", 30)
    assert not browser.run("document.querySelector('#verify-card').hidden")
    is_held = browser.run(
        "(() => { const [remove] = document.querySelectorAll('#voiceprint-list button');"
        "remove.click(); remove.click(); return document.querySelector('#verify-start').disabled;"
        "})()"
    )
    assert is_held, "a trial could begin while the last voiceprint is being deleted"
    browser.until("document.querySelector('#verify-card').hidden")
    assert browser.run("document.activeElement.id") == "name"
    assert browser.errors == []


def test_a_cancelled_enrollment_stores_nothing_and_the_page_says_so(browse, served, clips):
    browser = browse(clips.pcm("voice_a_enroll"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    browser.until("!document.querySelector('#enroll-card').hidden")
    browser.click("#name")
    browser.type("Ana")
    browser.click("#consent")
    browser.click("#enroll-start")
    browser.until("document.querySelector('#enroll-progress').value > 1")
    browser.click("#enroll-cancel")
    browser.until("document.querySelector('#enroll-said').innerText")
    browser.screenshot("11-cancelled-light")
    assert browser.text("#enroll-said") == "Cancelled. Nothing was stored."
    assert browser.run("document.querySelector('#enroll-live').hidden")
    assert browser.run("document.querySelector('#verify-card').hidden")
    assert browser.run("document.activeElement.id") == "enroll-start"
    assert browser.run("fetch('v1/voiceprints').then((answer) => answer.json())") == {
        "voiceprints": [],
        "next": None,
    }
    browser.click("#enroll-start")
    browser.until("!document.querySelector('#enroll-live').hidden")
    assert browser.text("#enroll-said") == ""
    assert browser.errors == []


def test_an_enrollment_that_was_cancelled_too_late_is_shown_to_be_stored(browse, served, clips):
    browser = browse(clips.pcm("voice_a_enroll"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    browser.until("!document.querySelector('#enroll-card').hidden")
    browser.click("#name")
    browser.type("Ana")
    browser.click("#consent")
    browser.click("#enroll-start")
    browser.until("!document.querySelector('#enroll-finish').disabled")
    browser.run(
        "for (const id of ['finish', 'cancel']) document.getElementById(`enroll-${id}`).click()"
    )
    browser.until("document.querySelector('#enroll-said').innerText")
    assert "too late to cancel: the voiceprint of Ana is stored" in browser.text("#enroll-said")
    assert "Ana" in browser.text("#voiceprint-list")
    assert browser.errors == []


def test_without_permission_the_page_says_how_to_give_it(browse, served, clips):
    browser = browse(clips.pcm("voice_a_call"), allows_microphone=False)
    browser.look(*PHONE)
    browser.open(served.url)
    browser.until("!document.querySelector('#enroll-card').hidden")
    browser.click("#name")
    browser.type("Ana")
    browser.click("#consent")
    browser.click("#enroll-start")
    browser.until("!document.querySelector('#problem').hidden")
    browser.screenshot("8-no-permission-phone-light")
    assert "does not let this page use the microphone" in browser.text("#problem")
    assert browser.run("document.querySelector('#enroll-form').hidden") is False


def test_a_server_that_has_gone_is_said_and_not_waited_for(browse, served, clips):
    browser = browse(clips.pcm("voice_a_call"))
    browser.look(*DESKTOP, "dark")
    browser.open(served.url)
    browser.until("!document.querySelector('#enroll-card').hidden")
    served.stop()
    browser.click("#name")
    browser.type("Ana")
    browser.click("#consent")
    browser.click("#enroll-start")
    browser.until("!document.querySelector('#problem').hidden")
    browser.screenshot("9-no-server-dark")
    assert "The server does not answer" in browser.text("#problem")


def test_with_keys_the_page_asks_for_one_and_keeps_it_in_the_tab_only(browse, served, clips):
    key = served.add_key("enroll", "verify", "admin")
    browser = browse(clips.pcm("voice_a_call"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    browser.until("!document.querySelector('#key-card').hidden")
    assert browser.run("document.querySelector('#enroll-card').hidden")
    browser.screenshot("10-key-light")
    browser.type("wrong")
    browser.press("Enter")
    browser.until("!document.querySelector('#problem').hidden")
    assert "does not know this key" in browser.text("#problem")
    browser.click("#key")
    browser.type(key)
    browser.press("Enter")
    browser.until("!document.querySelector('#enroll-card').hidden")
    assert browser.run("sessionStorage.length") == 1
    assert browser.run("localStorage.length") == 0
    assert key not in browser.run("document.documentElement.outerHTML + location.href")
    enroll_from_file(browser, clips)


def test_everything_can_be_reached_with_the_keyboard(browse, served, clips):
    browser = browse(clips.pcm("voice_a_call"))
    browser.look(*DESKTOP)
    browser.open(served.url)
    browser.until("!document.querySelector('#enroll-card').hidden")
    reached = []
    for _ in range(4):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id"))
    assert reached == ["name", "consent", "enroll-start", "enroll-file"]


def test_the_page_is_served_as_it_is_in_the_checkout(served):
    for path in (ROOT / "demo" / "browser").iterdir():
        place = "" if path.name == "index.html" else f"page/{path.name}"
        with urllib.request.urlopen(served.url + place, timeout=20) as answer:
            assert answer.read() == path.read_bytes(), path.name


def test_the_page_loads_nothing_from_elsewhere():
    for path in (ROOT / "demo" / "browser").iterdir():
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, path.name
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", text), path.name
