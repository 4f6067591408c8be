"""identify says whose voice it is, and that nobody is an answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamsv.voiceprints import VoiceprintStore


@pytest.fixture
def with_bob(call, material):
    assert call("enroll", "bob", material.b).code == 0
    return material


@pytest.mark.parametrize(
    ("config", "code", "verdict"),
    [("accepts", 0, "accept"), ("rejects", 1, "reject"), ("hesitates", 3, "undecided")],
)
def test_somebody_is_0_nobody_is_1_and_undecided_is_3(call, with_bob, config, code, verdict):
    options = ("identify", with_bob.a, "--config", getattr(with_bob, config))
    said = call(*options, "--json")
    assert said.code == code
    (decision,) = said.of_type("decision_made")
    assert decision["verdict"] == verdict
    assert (decision["speaker"] is None) == (verdict != "accept")
    words = {0: "Accepted as ", 1: "anybody's who is enrolled", 3: "Undecided"}
    assert words[code] in call(*options).out


def test_each_score_names_every_candidate_best_first(call, with_bob):
    scores = call("identify", with_bob.a, "--json").of_type("score_updated")[-1]["scores"]
    assert {score["speaker"] for score in scores} == {"alice", "bob"}
    assert scores[0]["llr"] >= scores[1]["llr"]


def test_a_store_without_voiceprints_says_to_enroll_first(call, material):
    assert call("voiceprints", "delete", "alice").code == 0
    said = call("identify", material.a)
    assert said.code == 4
    assert "enroll somebody first" in said.err


def of_another_model(material, *names):
    with VoiceprintStore(material.store) as store:
        for name in names:
            store.replace(replace(store.get(name), fingerprint="0" * 64))


def test_voiceprints_of_other_models_are_left_out_and_counted(call, with_bob):
    of_another_model(with_bob, "bob")
    said = call("identify", with_bob.a, "--config", with_bob.accepts)
    assert said.code == 0
    assert "Left out: 1 of another model" in said.err
    assert "Accepted as alice" in said.out


def test_json_warns_of_voiceprints_that_are_left_out(call, with_bob):
    of_another_model(with_bob, "bob")
    said = call("identify", with_bob.a, "--config", with_bob.accepts, "--json")
    assert said.code == 0
    message = "Left out: 1 of another model; enroll these speakers again."
    assert said.error == {"type": "warning", "code": "model_mismatch", "message": message}


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_nobody_is_no_answer_if_every_voiceprint_was_left_out(call, with_bob, options):
    of_another_model(with_bob, "alice", "bob")
    said = call("identify", with_bob.a, "--config", with_bob.rejects, *options)
    assert (said.code, said.out) == (4, "")
    assert "2 voiceprints are of another model" in said.err
    assert "streamsv enroll NAME --replace" in said.err
    assert not options or said.error["code"] == "model_mismatch"


def test_several_candidates_fit_a_narrow_terminal(watch, with_bob):
    options = ("--config", with_bob.accepts, "--speed", "0")
    said = watch("identify", with_bob.a, *options, columns=60, rows=20, NO_COLOR="1")
    assert said.code == 0
    last = said.out[said.out.rindex("╭") :]
    assert "alice" in last
    assert "bob" in last
    assert "ACCEPT" in last
