from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from urllib.error import URLError

import onnx
import pytest
import torch

from streamsv.errors import ConfigError, ModelLoadError
from training.config import TeacherConfig
from training.loop import Trainer
from training.networks import CausalNetwork
from training.teachers import OnnxTeacher, load_teacher


def test_a_path_without_anything_says_what_may_be_there(tmp_path):
    with pytest.raises(ConfigError, match="torchaudio:WAVLM_LARGE"):
        load_teacher(TeacherConfig(str(tmp_path / "nothing")))


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_is_no_teacher_is_refused(tmp_path, is_folder):
    path = tmp_path / "thing"
    if is_folder:
        path.mkdir()
        (path / "config.json").write_text('{"model_type": "bert"}')
    else:
        path.write_bytes(b"nonsense")
    with pytest.raises(ModelLoadError, match="no teacher"):
        load_teacher(TeacherConfig(str(path)))


def test_an_unknown_pipeline_is_refused():
    with_torchaudio()
    with pytest.raises(ConfigError, match="WAVLM_BASE_PLUS"):
        load_teacher(TeacherConfig("torchaudio:WAVLM_HUGE"))


def test_a_pipeline_that_cannot_be_downloaded_says_what_else_to_do(monkeypatch):
    torchaudio = with_torchaudio()

    def refuse(*_arguments, **_keywords):
        raise URLError("no network")

    monkeypatch.setattr(torchaudio.pipelines.Wav2Vec2Bundle, "get_model", refuse)
    with pytest.raises(ModelLoadError, match=r"teacher\.path"):
        load_teacher(TeacherConfig("torchaudio:WAVLM_BASE"))


@pytest.mark.parametrize("name", ["WAVLM_BASE_PLUS", "WAVLM_LARGE"])
def test_a_pipeline_hears_as_it_does_by_itself(monkeypatch, save_wavlm, name):
    """torchaudio wraps a network that wants its clips normalized; the network here is tiny."""
    torchaudio = with_torchaudio()
    is_large = name == "WAVLM_LARGE"
    network, _ = save_wavlm("microsoft", large=is_large)
    bundle = getattr(torchaudio.pipelines, name)
    model = network
    if is_large:
        model = torchaudio.pipelines._wav2vec2.utils._extend_model(network, True)
    monkeypatch.setattr(type(bundle), "get_model", lambda _self: model)
    pcm = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    heard = load_teacher(TeacherConfig(f"torchaudio:{name}", layers=(2,)))
    with torch.no_grad():
        expected = model.extract_features(pcm)[0][1]
    assert torch.allclose(heard.hear(pcm).layers[0], expected, atol=1e-5)


def test_a_torchaudio_that_does_not_go_with_torch_is_said_not_to(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(ModelLoadError, match="same release"):
        load_teacher(TeacherConfig("torchaudio:WAVLM_BASE"))


def with_torchaudio():
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchaudio does not go with this torch: {error}")
    return torchaudio


def test_an_onnx_teacher_hears_a_batch_as_it_hears_each_clip(tiny_config):
    teacher = load_teacher(tiny_config.teacher)
    assert isinstance(teacher, OnnxTeacher)
    pcm = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    heard = teacher.hear(pcm)
    embedding, frames = OnnxTeacher(Path(tiny_config.teacher.path))(pcm[1].numpy())
    assert torch.allclose(heard.embedding[1], torch.from_numpy(embedding))
    assert torch.allclose(heard.layers[0][1], torch.from_numpy(frames))


def test_an_onnx_teacher_is_recognized_by_content(tiny_config, tmp_path):
    renamed = tmp_path / "teacher.model"
    shutil.copy(tiny_config.teacher.path, renamed)
    assert isinstance(load_teacher(TeacherConfig(str(renamed))), OnnxTeacher)


def test_a_run_on_labels_needs_no_teacher_and_any_other_says_so(run_config):
    nobody = TeacherConfig(path="")
    loss = dataclasses.replace(
        run_config.loss, embedding=0.0, posterior=0.0, frames=0.0, speaker=1.0
    )
    config = dataclasses.replace(run_config, teacher=nobody, loss=loss, name="labels")
    assert set(Trainer(config).advance()) == {"speaker", "lr"}
    with pytest.raises(ConfigError, match=r"teacher\.path is empty"):
        dataclasses.replace(run_config, teacher=nobody)
    with pytest.raises(ConfigError, match=r"teacher\.path is empty"):
        load_teacher(nobody)


def test_a_frame_loss_wants_a_teacher_with_frames(run_config, tmp_path):
    model = onnx.load(run_config.teacher.path)
    del model.graph.output[1]
    onnx.save(model, str(tmp_path / "plain.onnx"))
    teacher = TeacherConfig(str(tmp_path / "plain.onnx"))
    heard = load_teacher(teacher).hear(torch.zeros(2, 16_000))
    assert heard.layers == ()
    assert heard.embedding.shape == (2, 16)
    loss = dataclasses.replace(run_config.loss, frames=0.0, posterior=0.0)
    data = dataclasses.replace(run_config.data, stream=True)
    config = dataclasses.replace(run_config, teacher=teacher, data=data, loss=loss)
    assert set(Trainer(config).advance()) == {"embedding", "lr"}
    hidden = dataclasses.replace(config, loss=dataclasses.replace(loss, hidden=1.0), name="hidden")
    with pytest.raises(ConfigError, match="no frames"):
        Trainer(hidden)


def test_a_student_of_before_teaches_with_its_averaged_weights(run_config):
    trainer = Trainer(run_config)
    trainer.advance()
    trainer.save()
    heard = load_teacher(TeacherConfig(str(trainer.checkpoint))).hear(torch.zeros(2, 12_800))
    network = CausalNetwork(run_config.model)
    network.student.load_state_dict(trainer.average.state_dict())
    with torch.no_grad():
        embeddings, hidden = network.eval()(torch.zeros(2, 12_800))
    assert torch.allclose(heard.embedding, embeddings[:, -1], atol=1e-6)
    assert torch.allclose(heard.layers[0], hidden[-1], atol=1e-6)
