"""Rivals: the embeddings that their own code gives, and errors that say what to do."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from streamsv.engine.engine import bundled
from streamsv.errors import ConfigError, ModelLoadError, NotEnoughSpeech
from streamsv.evaluation.rivals import load_rival

Floats = NDArray[np.float32]


def tensor(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def write_encoder(
    path: Path,
    feats: onnx.ValueInfoProto | None = None,
    outputs: tuple[str, ...] = ("embedding",),
) -> Path:
    """An encoder whose embedding is the largest value of each band, and ``frames`` as it hears."""
    taken = feats or tensor("feats", ["batch", "frames", 80])
    peak = helper.make_node("ReduceMax", [taken.name], ["embedding"], axes=[1], keepdims=0)
    same = helper.make_node("Identity", [taken.name], ["frames"])
    kind = taken.type.tensor_type.elem_type
    shapes: dict[str, list[Any]] = {"embedding": ["batch", 80], "frames": ["batch", "frames", 80]}
    given = [tensor(name, shapes[name], kind) for name in outputs]
    graph = helper.make_graph([peak, same], "encoder", [taken], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def bands_of(pcm: Floats) -> Floats:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    banks = knf.OnlineFbank(options)
    banks.accept_waveform(16_000, pcm.tolist())
    banks.input_finished()
    return np.stack([banks.get_frame(i) for i in range(banks.num_frames_ready)])


@pytest.fixture(scope="module")
def resemblyzer() -> Any:
    pytest.importorskip(
        "resemblyzer.voice_encoder",
        reason="needs Resemblyzer, which is installed without its dependencies",
        exc_type=ImportError,
    )
    return load_rival("resemblyzer")


def test_an_onnx_rival_hears_filterbanks_without_their_mean(clips: Any, tmp_path: Path) -> None:
    pcm = clips.pcm("voice_a_call")[:24_000]
    rival = load_rival(str(write_encoder(tmp_path / "peaks.onnx")))
    bands = bands_of(pcm)
    expected = (bands - bands.mean(axis=0)).max(axis=0)
    embedding = rival.embed(pcm)
    assert (rival.name, embedding.dtype, embedding.shape) == ("peaks", np.float32, (80,))
    np.testing.assert_allclose(embedding, expected / np.linalg.norm(expected), atol=1e-5)


def test_the_output_named_embedding_is_taken_wherever_it_stands(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)
    first = load_rival(str(write_encoder(tmp_path / "a.onnx")))
    last = load_rival(str(write_encoder(tmp_path / "b.onnx", outputs=("frames", "embedding"))))
    np.testing.assert_array_equal(first.embed(noise), last.embed(noise))
    assert first.version != last.version


def test_resemblyzer_is_the_one_of_the_wheel_but_for_its_gate(resemblyzer: Any, clips: Any) -> None:
    audio = importlib.import_module("resemblyzer.audio")
    network = importlib.import_module("resemblyzer.voice_encoder").VoiceEncoder("cpu", False)
    pcm = 0.05 * clips.pcm("voice_a_call")[:32_000]
    own = network.embed_utterance(audio.normalize_volume(pcm, -30, increase_only=True))
    found = resemblyzer.embed(pcm)
    assert (resemblyzer.name, found.dtype, found.shape) == ("resemblyzer", np.float32, (256,))
    np.testing.assert_allclose(found, own, atol=1e-6)
    # What a louder recording of the same gives is nearly the same: the level is made up for.
    assert resemblyzer.embed(2 * pcm) @ found > 0.99


def test_resemblyzer_tells_the_bundled_voices_apart(resemblyzer: Any, clips: Any) -> None:
    enrolled, same, other = (
        resemblyzer.embed(clips.pcm(name)[:80_000])
        for name in ("voice_a_enroll", "voice_a_call", "voice_b_call")
    )
    assert enrolled @ same > enrolled @ other


@pytest.mark.parametrize("kind", ["resemblyzer", "onnx"])
def test_less_than_a_frame_and_silence_are_refused(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "onnx":
        rival = load_rival(str(write_encoder(tmp_path / "peaks.onnx")))
    else:
        rival = request.getfixturevalue("resemblyzer")
    with pytest.raises(NotEnoughSpeech, match="at least 400"):
        rival.embed(np.zeros(399, np.float32))
    with pytest.raises(NotEnoughSpeech, match="all zero"):
        rival.embed(np.zeros(16_000, np.float32))


def test_a_name_that_is_no_rival_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"use resemblyzer, or .* ends in \.onnx"):
        load_rival("titanet")


def test_a_missing_package_is_an_error_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "resemblyzer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    with pytest.raises(ModelLoadError, match="pip install --no-deps resemblyzer && pip install"):
        load_rival("resemblyzer")
    monkeypatch.setitem(sys.modules, "kaldi_native_fbank", None)
    with pytest.raises(ModelLoadError, match="pip install kaldi-native-fbank"):
        load_rival(str(write_encoder(tmp_path / "peaks.onnx")))


def test_a_file_that_is_missing_or_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="There is no rival at"):
        load_rival(str(tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ModelLoadError, match="cannot be loaded as an ONNX model"):
        load_rival(str(tmp_path / "text.onnx"))


def test_a_model_of_streamsv_is_sent_to_where_it_belongs() -> None:
    with pytest.raises(ModelLoadError, match=r"is a model of streamsv.* --config"):
        load_rival(str(bundled("default.onnx")))


@pytest.mark.parametrize(
    "feats",
    [
        tensor("feats", ["batch", "frames", 40]),
        tensor("feats", ["batch", 200, 80]),
        tensor("feats", [8, "frames", 80]),
        tensor("pcm", ["batch", "samples"]),
        tensor("feats", ["batch", "frames", 80], TensorProto.FLOAT16),
    ],
    ids=["40 bands", "fixed length", "fixed batch", "samples", "half precision"],
)
def test_a_network_that_takes_something_else_is_refused_with_what_it_takes(
    feats: onnx.ValueInfoProto, tmp_path: Path
) -> None:
    path = write_encoder(tmp_path / "other.onnx", feats)
    with pytest.raises(ModelLoadError, match=rf"batch, frames, 80.* it has {feats.name} \["):
        load_rival(str(path))


def test_a_network_without_an_embedding_is_refused(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "frames.onnx", outputs=("frames",))
    with pytest.raises(ModelLoadError, match=r"an output \(batch, dimension\); it has frames"):
        load_rival(str(path))
