from __future__ import annotations

import json

import pytest
import torch

from streamsv.errors import ConfigError, ModelLoadError
from training.config import TeacherConfig
from training.teachers import load_teacher

DIM, LAYERS = 32, 3
PCM = torch.randn(2, 8000, generator=torch.Generator().manual_seed(5)) * 0.1


def expected(network, large: bool, layer: int):
    """torchaudio's own answer, each clip brought to mean 0 and variance 1 for a Large."""
    pcm = PCM
    if large:
        pcm = (pcm - pcm.mean(1, keepdim=True)) / torch.sqrt(
            pcm.var(1, keepdim=True, correction=0) + 1e-5
        )
    with torch.no_grad():
        states, _ = network.extract_features(pcm)
        last, _ = network(pcm)
    return last if layer == LAYERS else states[layer - 1]


FORMS = ["microsoft", "pytorch_model.bin", "model.safetensors"]


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("form", FORMS)
def test_a_published_checkpoint_hears_what_torchaudio_hears(save_wavlm, form, large):
    network, path = save_wavlm(form, large)
    teacher = load_teacher(TeacherConfig(str(path), layers=(1, 2, -1)))
    heard = teacher.hear(PCM)
    assert heard.embedding is None
    assert heard.frame_rate == 50.0
    for layer, state in zip((1, 2, LAYERS), heard.layers, strict=True):
        assert state.shape == (2, 24, DIM)
        assert torch.allclose(state, expected(network, large, layer), atol=1e-5)


def test_one_clip_is_heard_alike_alone_and_among_others(save_wavlm):
    _, path = save_wavlm("microsoft", large=True)
    teacher = load_teacher(TeacherConfig(str(path)))
    together, alone = teacher.hear(PCM).layers[0][1], teacher.hear(PCM[1:]).layers[0][0]
    assert torch.allclose(together, alone, atol=1e-5)


def test_what_the_preprocessor_says_about_normalizing_is_done(save_wavlm):
    network, path = save_wavlm("model.safetensors", large=True)
    (path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    heard = load_teacher(TeacherConfig(str(path), layers=(1,))).hear(PCM)
    with torch.no_grad():
        plain = network.extract_features(PCM)[0][0]
    assert torch.allclose(heard.layers[0], plain, atol=1e-5)


def test_a_layer_that_is_not_there_is_named(save_wavlm):
    _, path = save_wavlm("microsoft", large=False)
    with pytest.raises(ConfigError, match="layers 1 to 3"):
        load_teacher(TeacherConfig(str(path), layers=(8,)))


@pytest.mark.parametrize("fault", ["missing", "strange", "misshapen"])
def test_a_weight_that_does_not_fit_is_named(save_wavlm, fault):
    _, path = save_wavlm("microsoft", large=False)
    content = torch.load(path, weights_only=True)
    name = "encoder.layers.1.fc1.weight"
    if fault == "missing":
        del content["model"][name]
        word = r"layers\.1\.feed_forward\.intermediate_dense\.weight"
    elif fault == "strange":
        content["model"]["encoder.layers.1.fc9.weight"] = torch.zeros(1)
        word = r"layers\.1\.fc9\.weight"
    else:
        content["model"][name] = torch.zeros(3, 3)
        word = r"intermediate_dense\.weight is \(3, 3\)"
    torch.save(content, path)
    with pytest.raises(ModelLoadError, match=word):
        load_teacher(TeacherConfig(str(path)))


def test_a_configuration_without_a_size_is_refused(save_wavlm):
    _, path = save_wavlm("model.safetensors", large=False)
    config = json.loads((path / "config.json").read_text())
    del config["num_buckets"]
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="num_buckets"):
        load_teacher(TeacherConfig(str(path)))


def test_code_in_the_convolutions_of_a_checkpoint_is_not_run(save_wavlm, tmp_path):
    _, path = save_wavlm("microsoft", large=False)
    content = torch.load(path, weights_only=True)
    marker = tmp_path / "ran"
    content["cfg"]["conv_feature_layers"] = f"[open({str(marker)!r}, 'w')]"
    torch.save(content, path)
    with pytest.raises(ModelLoadError):
        load_teacher(TeacherConfig(str(path)))
    assert not marker.exists()
