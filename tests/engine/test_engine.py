"""One model and its calibration, shared by every session."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from streamsv.engine import Engine, EngineConfig, bundled
from streamsv.errors import ConfigError, ModelLoadError, ModelMismatch
from streamsv.scoring.calibration import Calibration, Line


def test_the_bundled_model_loads_with_its_calibration(engine: Engine) -> None:
    loaded = Engine.load()
    assert loaded.fingerprint == engine.fingerprint
    assert loaded.calibration.fingerprint == loaded.fingerprint
    assert set(loaded.calibration.channels) == {"wideband", "telephone", "mixed"}
    assert loaded.config == EngineConfig()


def test_another_model_brings_the_calibration_that_lies_beside_it(tmp_path: Path) -> None:
    model = tmp_path / "other.onnx"
    shutil.copy(bundled("default.onnx"), model)
    config = EngineConfig(model=str(model))
    with pytest.raises(ConfigError, match=r"other\.calibration\.json"):
        Engine.load(config)
    shutil.copy(bundled("default.calibration.json"), tmp_path / "other.calibration.json")
    assert Engine.load(config).encoder.path == model


def test_a_calibration_of_ones_own_is_used(tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "mine.json"
    line = Line((8.0,), (-2.0,))
    Calibration(engine.fingerprint, (3.0,), {"wideband": line}).save(path)
    loaded = Engine.load(EngineConfig(calibration=str(path)))
    assert loaded.calibration.channels == {"wideband": line}


def test_a_missing_model_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no model at"):
        Engine.load(EngineConfig(model=str(tmp_path / "none.onnx")))


def test_a_calibration_of_another_model_is_a_named_error(engine: Engine) -> None:
    line = Line((1.0,), (0.0,))
    foreign = Calibration("f" * 64, (1.0,), {"wideband": line})
    with pytest.raises(ModelMismatch, match="fit a new one"):
        Engine(engine.encoder, foreign)


def test_sessions_share_nothing_that_changes(engine: Engine, voiceprints: Any) -> None:
    one, other = engine.verify(voiceprints["a"]), engine.verify(voiceprints["a"])
    started = one.push(b"")
    one.finish()
    assert one.is_ended
    assert not other.is_ended
    assert other.push(b"") == started
