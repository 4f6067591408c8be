from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from streamsv.errors import ConfigError, ModelLoadError
from training.config import TeacherConfig
from training.teachers import load_teacher
from training.teachers.campplus import CamPlusPlus, main, rebuild


@pytest.fixture(scope="module")
def network():
    architecture = pytest.importorskip("speakerlab.models.campplus.DTDNN")
    torch.manual_seed(0)
    return architecture.CAMPPlus(feat_dim=80, embedding_size=192).eval()


def test_weights_become_a_teacher_of_embeddings_and_frames(network, tmp_path, monkeypatch):
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    output = tmp_path / "campplus.model"
    arguments = [str(tmp_path / "weights.pt"), str(output)]
    monkeypatch.setattr(sys, "argv", ["campplus", *arguments])
    assert main() == 0
    teacher = load_teacher(TeacherConfig(str(output)))
    pcm = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    heard = teacher.hear(torch.from_numpy(pcm)[None])
    assert heard.embedding.shape == (1, 192)
    assert heard.layers[0].shape[1:] == (99, 512)

    wrapped = CamPlusPlus().eval()
    wrapped.network.load_state_dict(network.state_dict())
    banks = torch.randn(1, 198, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding, frames = wrapped(banks)
        assert torch.allclose(embedding, network(banks), atol=1e-6)
    assert frames.shape == (1, 99, 512)


def test_what_are_no_weights_is_refused(network, tmp_path, monkeypatch, capsys):
    (tmp_path / "weights.pt").write_text("nonsense")
    with pytest.raises(ModelLoadError, match="campplus_cn_en_common"):
        rebuild(tmp_path / "weights.pt", tmp_path / "out.onnx")
    monkeypatch.setattr(sys, "argv", ["campplus", str(tmp_path / "absent"), "out.onnx"])
    assert main() == 4
    assert "There are no weights at" in capsys.readouterr().err


def test_without_the_architecture_it_says_where_that_is(tmp_path, monkeypatch):
    for name in [each for each in sys.modules if each.startswith("speakerlab")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "speakerlab", None)
    with pytest.raises(ConfigError, match="--no-deps speakerlab-slim"):
        rebuild(tmp_path / "weights.pt", tmp_path / "out.onnx")
