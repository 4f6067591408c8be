"""model info says which model is loaded and how it was made."""

from __future__ import annotations

import shutil

from streamsv.engine import Engine, bundled


def test_facts_card_and_calibration_are_shown(call):
    engine = Engine.load()
    said = call("model", "info")
    assert said.code == 0
    assert engine.fingerprint in said.out
    assert engine.encoder.license in said.out
    (model,) = call("model", "info", "--json").objects
    assert model["type"] == "model"
    assert model["config"] == engine.encoder.config
    assert model["card"] == engine.encoder.card
    assert model["fitted_on"] == dict(engine.calibration.fitted_on)
    assert model["speech_guard"] == engine.encoder.speech_head["digest"]
    assert model["speech_guard_fitted_on"] == engine.encoder.speech_head["fitted_on"]
    assert model["speech_guard"] in said.out


def test_the_card_beside_another_model_is_its_card(call, tmp_path):
    for name in ("default.onnx", "default.calibration.json"):
        shutil.copy(bundled(name), tmp_path / name)
    config = tmp_path / "engine.yaml"
    config.write_text(f"model: {tmp_path / 'default.onnx'}\n")
    (model,) = call("model", "info", "--config", config, "--json").objects
    assert model["card_text"] is None
    (tmp_path / "CARD.md").write_text("# My model\n\nMade of [nothing].\n")
    assert "Made of [nothing]." in call("model", "info", "--config", config).out


def test_a_missing_model_is_a_sentence(call, tmp_path):
    config = tmp_path / "engine.yaml"
    config.write_text("model: nowhere.onnx\n")
    said = call("model", "info", "--config", config, "--json")
    assert (said.code, said.error["code"]) == (4, "model_load")


def test_the_calibration_is_a_row_a_set_and_a_row_a_channel_and_knot(call):
    fitted_on = Engine.load().calibration.fitted_on
    said = call("model", "info")
    assert "{" not in said.out
    lines = [line.split() for line in said.out.splitlines()]
    for each in fitted_on["sets"]:
        channel = each["channel"] or "as recorded"
        shown = [each["set"], *channel.split(), str(each["trials"]), str(each["speakers"])]
        assert shown in lines
    for channel, knots in fitted_on["channels"].items():
        for knot in knots:
            counts = [str(knot[key]) for key in ("targets", "impostors", "target_speakers")]
            costs = [
                "-" if knot[key] is None else f"{knot[key]:.3f}" for key in ("cllr", "min_cllr")
            ]
            assert [channel, f"{knot['net_speech_s']:g}", "s", *counts, *costs] in lines


def test_a_fingerprint_stays_on_one_line_in_a_narrow_terminal(watch):
    assert Engine.load().fingerprint in watch("model", "info", columns=60).out
