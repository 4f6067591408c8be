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
