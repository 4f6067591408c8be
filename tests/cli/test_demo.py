"""The demo works offline, without a microphone and without a store, and says if it went wrong."""

from __future__ import annotations

import contextlib
import io
import json

import pytest

from streamsv.cli.main import main


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The demo as JSON, run once, and the place where its store would have been."""
    home = tmp_path_factory.mktemp("demo") / "home"
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
    ):
        patch.setenv("STREAMSV_HOME", str(home))
        code = main(["demo", "--json"])
    return code, [json.loads(line) for line in out.getvalue().splitlines()], home


def of_type(objects, kind):
    return [found for found in objects if found["type"] == kind]


def test_one_voice_is_accepted_another_rejected_and_a_change_makes_the_score_fall(told):
    code, objects, _ = told
    wrong = [scene for scene in of_type(objects, "demo_scene") if not scene["is_as_expected"]]
    assert [scene["detail"] for scene in wrong] == []
    assert code == 0
    verdicts = [decision["verdict"] for decision in of_type(objects, "decision_made")]
    assert verdicts[:2] == ["accept", "reject"]


def test_every_scene_is_told_in_events_and_in_a_sentence(told):
    _, objects, _ = told
    assert len(of_type(objects, "enrollment_completed")) == 1
    assert len(of_type(objects, "session_started")) == len(of_type(objects, "session_ended")) == 4
    scenes = of_type(objects, "demo_scene")
    assert [scene["scene"] for scene in scenes] == ["same_voice", "other_voice", "changing_voice"]
    assert "s of speech" in scenes[0]["detail"]
    assert "when the voice changed" in scenes[2]["detail"]


def test_the_demo_touches_no_store(told):
    code, _, home = told
    assert code in (0, 4)
    assert not home.exists()


def test_a_demo_that_goes_wrong_is_4_with_a_sentence_never_1(call, material):
    said = call("demo", "--config", material.rejects)
    assert said.code == 4
    assert "Rejected: the voice is not voice A's, after 3.0 s of speech" in said.out
    assert "did not go as it should: The same person was rejected after 3.0 s" in said.err
    assert "streamsv live" not in said.out


def test_a_demo_without_a_score_to_compare_says_what_to_change(call, tmp_path):
    config = tmp_path / "engine.yaml"
    config.write_text("update_every_hops: 700\n")
    said = call("demo", "--config", config, "--json")
    assert (said.code, said.error["code"]) == (4, "demo")
    assert "Lower update_every_hops" in said.error["message"]


def test_the_demo_draws_all_four_scenes_in_a_terminal(watch):
    said = watch("demo", "--speed", "0", columns=60, rows=20, NO_COLOR="1")
    assert said.code in (0, 4)
    for title in ("1/4 Enrolling", "2/4 A call by the same person", "3/4", "4/4"):
        assert title in said.out
    assert "▲ voice changes" in said.out
    assert "times real time, without sound" not in said.out
    assert ("streamsv live" in said.out) == (said.code == 0)


def test_a_terminal_is_told_once_how_fast_the_demo_runs_and_that_the_verdict_stays(watch, material):
    said = watch("demo", "--config", material.accepts, columns=100, NO_COLOR="1")
    how = "Shown at 5 times real time, without sound; --speed 1 is real time."
    assert said.out.count(how) == 1
    assert "The verdict stays: a voiceprint is decided once." in said.out


def test_the_verdict_is_said_to_stay_in_a_log_too_and_never_in_json(call, told, material):
    assert "The verdict stays" in call("demo", "--config", material.accepts).out
    assert "verdict stays" not in str(told[1])


def test_the_help_says_first_that_one_watches(call):
    assert "Watch one voice recognized" in call("demo", "--help").out
