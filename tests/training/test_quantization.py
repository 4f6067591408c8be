from __future__ import annotations

import dataclasses
from importlib.resources import files

import numpy as np
import onnx
import pytest
import soundfile
import torch

from streamsv.encoder import Encoder
from streamsv.errors import ConfigError
from streamsv.nn.config import HOP_SAMPLES, ModelConfig
from streamsv.nn.export import export
from streamsv.nn.guard import HeadConfig, SpeechHead
from streamsv.nn.student import Student
from training.__main__ import export_stage, quantize_stage
from training.loop import train
from training.quantization import quantize
from training.takeover import last_layer

HOPS = 50


def spoken(name, rows=1):
    """(rows, samples) of 4 s of a bundled clip."""
    pcm, _ = soundfile.read(str(files("streamsv") / "clips" / f"{name}.opus"), dtype="float32")
    return np.tile(pcm[: HOPS * HOP_SAMPLES], (rows, 1)).astype(np.float32)


def heard(encoder, pcm):
    """The embedding after each hop, and the last state."""
    state, found = encoder.initial_state(len(pcm)), []
    for start in range(0, pcm.shape[1], HOP_SAMPLES):
        embedding, state = encoder.step(
            np.ascontiguousarray(pcm[:, start : start + HOP_SAMPLES]), state
        )
        found.append(embedding)
    return np.stack(found, axis=1), state


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A student with random weights, exported with a speech head, and what became of it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("quantized")
    student = Student(ModelConfig(depth=2)).eval()
    mark = export(student, folder / "plain.onnx", {}).fingerprint
    head = SpeechHead(HeadConfig(dim=student.config.dim, taps=(1, 2)))
    head.student = mark
    export(student, folder / "float32.onnx", {"macs_per_hop": 5_000_000}, head)
    batches = [np.concatenate([spoken("voice_a_call"), spoken("voice_b_call")])]
    quantize(folder / "float32.onnx", folder / "int8.onnx", batches)
    return Encoder(folder / "float32.onnx"), Encoder(folder / "int8.onnx")


def test_the_embedding_stays_what_it_was(both):
    before, after = both
    pcm = spoken("voice_c_call")
    cosines = (heard(before, pcm)[0] * heard(after, pcm)[0]).sum(axis=2)
    assert cosines.min() > 0.99
    assert cosines.min() < 1 - 1e-6, "nothing was rounded"


def test_how_loud_another_caller_is_changes_nothing(both):
    _, after = both
    quiet = np.concatenate([spoken("voice_c_call"), 0.001 * spoken("voice_b_call")])
    loud = np.concatenate([spoken("voice_c_call"), np.sign(spoken("voice_b_call"))])
    (first, states), (second, others) = heard(after, quiet), heard(after, loud)
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[1], second[1])
    assert all(np.array_equal(states[name][0], others[name][0]) for name in states)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sound_that_is_no_number_does_not_pass_for_a_voice(both, value):
    _, after = both
    pcm = spoken("voice_c_call", rows=2)[:, :HOP_SAMPLES]
    pcm[0, 700] = value
    embeddings, _ = after.step(pcm, after.initial_state(2))
    assert np.isnan(embeddings[0]).all()
    assert np.isfinite(embeddings[1]).all()


def test_states_stay_float32_and_evidence_of_speech_is_kept(both):
    before, after = both
    _, state = heard(after, spoken("voice_a_call"))
    assert set(after.state_names) == set(before.state_names)
    assert all(values.dtype == np.float32 for values in state.values())
    assert after.speech_head == before.speech_head


def test_weights_have_seven_bits_so_that_no_processor_overflows(both):
    _, after = both
    weights = [
        onnx.numpy_helper.to_array(each)
        for each in onnx.load(str(after.path)).graph.initializer
        if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 2
    ]
    assert len(weights) > 10
    assert max(int(np.abs(each.astype(int)).max()) for each in weights) <= 64


def test_the_file_says_what_it_is_and_what_it_was_made_of(both):
    before, after = both
    assert (before.precision, after.precision) == ("float32", "int8")
    assert after.fingerprint != before.fingerprint
    assert after.metadata["streamsv.float32_fingerprint"] == before.fingerprint
    assert after.card["macs_per_hop"] == before.card["macs_per_hop"]
    assert 0 < after.card["int8_macs_per_hop"] < after.card["macs_per_hop"]
    assert after.path.stat().st_size < 0.5 * before.path.stat().st_size


def test_the_same_speech_gives_the_same_fingerprint(both, tmp_path):
    before, after = both
    batches = [np.concatenate([spoken("voice_a_call"), spoken("voice_b_call")])]
    again = quantize(before.path, tmp_path / "again.onnx", batches)
    assert again.fingerprint == after.fingerprint
    other = quantize(before.path, tmp_path / "other.onnx", [0.1 * batches[0]])
    assert other.fingerprint != after.fingerprint


def test_the_last_layer_can_still_be_read(both):
    before, after = both
    for exact, rounded in zip(last_layer(before.path), last_layer(after.path), strict=True):
        assert rounded.shape == exact.shape
        assert np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()


def test_a_quantized_network_is_not_quantized_again(both, tmp_path):
    with pytest.raises(ConfigError, match="int8 already"):
        quantize(both[1].path, tmp_path / "twice.onnx", [spoken("voice_a_call")])


def test_without_speech_no_scale_is_made_up(both, tmp_path):
    with pytest.raises(ConfigError, match="no speech"):
        quantize(both[0].path, tmp_path / "deaf.onnx", [])
    assert not (tmp_path / "deaf.onnx").exists()


def test_the_stage_rewrites_what_export_wrote(tiny_config, tmp_path):
    config = dataclasses.replace(tiny_config, run_dir=str(tmp_path))
    train(config, lambda line: None)
    path = tmp_path / "model.onnx"
    export_stage(config, path, None)
    before = Encoder(path).fingerprint
    quantize_stage(config, path)
    after = Encoder(path)
    assert after.precision == "int8"
    assert after.metadata["streamsv.float32_fingerprint"] == before
