"""enroll makes a voiceprint from one recording or several, and overwrites none by accident."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
import soundfile

from streamsv.voiceprints import Consent, VoiceprintStore


def stored(material, name):
    with VoiceprintStore(material.store) as store:
        return store.get(name)


def dated(material, when, **fields):
    """Alice's voiceprint as if it had been stored at ``when``."""
    with VoiceprintStore(material.store) as store:
        alice = replace(store.get("alice"), created_at=when, updated_at=when, **fields)
        store.replace(alice)
    return alice


def test_one_recording_becomes_a_dated_voiceprint(call, material):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    said = call("enroll", "carol", material.b)
    assert (said.code, said.err) == (0, "")
    assert f"Stored the voiceprint of carol in {material.store}" in said.out
    carol = stored(material, "carol")
    assert carol.recordings == 1
    assert datetime.datetime.fromisoformat(carol.created_at) >= before
    assert carol.consent is None


def test_several_files_are_several_recordings_of_any_rate(call, material, tmp_path):
    pcm, rate = soundfile.read(material.a)
    slower = tmp_path / "8k.wav"
    soundfile.write(slower, pcm[::2], rate // 2)
    said = call("enroll", "carol", material.a, slower, "--json")
    assert said.code == 0
    (completed,) = said.of_type("enrollment_completed")
    assert completed["recordings"] == stored(material, "carol").recordings == 2
    assert -1 <= completed["cohesion"] <= 1
    assert stored(material, "carol").channel == "telephone"
    assert said.objects[-1]["type"] == "voiceprint_stored"
    assert "embedding" not in said.objects[-1]


def test_a_name_that_is_taken_is_refused_before_anything_is_heard(call, material):
    before = stored(material, "alice")
    said = call("enroll", "alice", material.b, "--json")
    assert (said.code, said.out, said.error["code"]) == (4, "", "voiceprint_exists")
    assert "--replace" in said.error["message"]
    assert stored(material, "alice") == before


def test_replace_keeps_the_first_date_and_the_consent(call, material):
    consent = Consent("2024-01-31", "Alice", "door")
    first = dated(material, "2024-01-31T09:30:00Z", consent=consent)
    assert call("enroll", "alice", material.b, "--replace").code == 0
    second = stored(material, "alice")
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert second.consent == consent
    assert (second.embedding != first.embedding).any()


def test_a_first_date_that_is_still_to_come_does_not_cost_the_new_recording(call, material):
    dated(material, "2999-01-31T09:30:00+00:00")
    said = call("enroll", "alice", material.b, "--replace")
    assert (said.code, said.err) == (0, "")
    second = stored(material, "alice")
    assert second.created_at == second.updated_at < "2999"


def test_consent_is_stored_with_who_what_for_and_when(call, material):
    given = ("--consent-by", "Carol", "--consent-purpose", "door")
    when = ("--consent-given-at", "2025-01-31T09:30:00Z")
    assert call("enroll", "carol", material.b, *given, *when).code == 0
    consent = stored(material, "carol").consent
    assert (consent.by, consent.purpose) == ("Carol", "door")
    assert consent.given_at == "2025-01-31T09:30:00Z"
    assert call("enroll", "dave", material.b, *given).code == 0
    assert stored(material, "dave").consent.given_at.endswith("Z")


def test_half_a_consent_is_a_usage_error(call, material):
    said = call("enroll", "carol", material.b, "--consent-by", "Carol")
    assert "--consent-by goes with --consent-purpose." in said.err
    assert said.code == 2
    assert "--consent-purpose" in said.err


def test_too_little_speech_is_refused_and_stores_nothing(call, material):
    said = call("enroll", "carol", material.silence, "--json")
    assert (said.code, said.error["code"]) == (4, "not_enough_speech")
    assert said.of_type("enrollment_refused")
    assert call("voiceprints", "show", "carol").code == 4


def test_recordings_that_do_not_agree_are_refused(call, material, tmp_path):
    config = tmp_path / "strict.yaml"
    config.write_text("enrollment: {min_cohesion: 1.0}\n")
    said = call("enroll", "carol", material.a, material.b, "--config", config)
    assert said.code == 4
    assert "do not sound like one voice" in said.err


def test_a_missing_file_among_several_is_noticed_before_the_first_is_heard(call, material):
    said = call("enroll", "carol", material.a, "missing.wav", "--json")
    assert (said.code, said.out) == (4, "")


@pytest.mark.parametrize("name", ["", " carol", "carol\n", "x" * 129])
def test_a_name_that_cannot_be_an_id_is_refused(call, material, name):
    said = call("enroll", name, material.a, "--json")
    assert (said.code, said.error["code"]) == (4, "config")


def test_a_terminal_shows_progress_feedback_and_the_outcome(watch, material):
    said = watch("enroll", "carol", material.b, columns=60, rows=20)
    assert said.code == 0
    assert "Enrolling carol from b.wav" in said.out
    assert "DONE" in said.out
    assert "✓" in said.out


def test_complaints_about_a_consent_come_in_the_order_of_its_options(call, material):
    complete = ("--consent-by", "", "--consent-purpose", "", "--consent-given-at", "soon")
    assert "consent.by" in call("enroll", "carol", material.b, *complete).err
    dated = ("--consent-by", "Carol", "--consent-purpose", "door", "--consent-given-at", "soon")
    assert "consent.given_at" in call("enroll", "carol", material.b, *dated).err
    alone = call("enroll", "carol", material.b, "--consent-given-at", "2025-01-31")
    assert "--consent-given-at goes with --consent-by and --consent-purpose." in alone.err


def test_a_recording_that_is_too_quiet_throughout_says_to_raise_the_level(call, material):
    said = call("enroll", "carol", material.silence)
    assert said.code == 4
    assert said.err == (
        "Error: Almost no sound could be heard. Raise the level and record again.\n"
    )


def test_a_terminal_says_once_why_an_enrollment_was_refused(watch, material, tmp_path):
    pcm, rate = soundfile.read(material.a)
    short = tmp_path / "short.wav"
    soundfile.write(short, pcm[: 2 * rate], rate)
    said = watch("enroll", "carol", short, columns=90, NO_COLOR="1")
    assert said.code == 4
    assert "REFUSED" in said.out
    assert said.out.count("Record more speech") == 1


def test_an_enrollment_that_clips_throughout_says_that_it_may_be_poor(call, material, tmp_path):
    pcm, rate = soundfile.read(material.b)
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, (pcm * 100).clip(-1, 1), rate)
    said = call("enroll", "carol", loud)
    assert said.code == 0
    assert "4 of 4 stretches were clipped; the voiceprint may be poor." in said.out
    assert "wanted: too loud and clipped, lower the input level" in said.out
