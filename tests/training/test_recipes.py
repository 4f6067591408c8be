from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from streamsv.config import to_mapping
from streamsv.errors import ConfigError, ModelLoadError
from streamsv.nn.macs import count_macs
from streamsv.nn.paper import PaperConfig
from training.checkpoint import load_checkpoint, load_network, load_student
from training.config import TeacherConfig, load_config
from training.loop import Trainer, train
from training.networks import PaperNetwork, make_network

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "train"


def quiet(_line):
    pass


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_recipe_builds_its_network(file):
    config = load_config(file)
    with torch.device("meta" if config.network == "paper" else "cpu"):
        network = make_network(config.network, config.model, config.paper)
    assert network.kind == config.network
    for _, hops in config.optimizer.shapes:
        assert network.samples(hops) > 0
    assert sum(config.optimizer.shape_shares) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("recipe", "parameters", "macs"),
    [("paper", 33.04e6, 11.87e9), ("paper-17", 77.99e6, 19.46e9)],
)
def test_the_papers_recipes_build_the_papers_network(recipe, parameters, macs):
    config = load_config(RECIPES / f"{recipe}.yaml")
    with torch.device("meta"):
        network = make_network(config.network, config.model, config.paper)
        assert isinstance(network, PaperNetwork)
        assert count(network) == pytest.approx(parameters, abs=5e3)
        assert count(network.student.blocks[0]) == 3_745_969
        clip = torch.zeros(1, network.samples(38))
        assert count_macs(network, clip) == pytest.approx(macs, abs=5e6)
        frames = torch.zeros(1, 149, 1024)
        assert count_macs(network.student.blocks[0], frames) == pytest.approx(632.06e6, abs=5e3)


def streaming(tiny_config, recipe, tmp_path, **changes):
    """A recipe on the bundled clips instead of its corpora, on a CPU."""
    config = load_config(RECIPES / f"{recipe}.yaml")
    data = dataclasses.replace(
        config.data,
        clips=tiny_config.data.clips,
        sounds=tiny_config.data.sounds,
        corpora={},
        sound_corpora={},
    )
    small = {"steps": 1, "warmup": 1, "shapes": ((2, 38),), "shape_shares": (1.0,)}
    optimizer = dataclasses.replace(config.optimizer, **small, accumulate=1)
    common = {"device": "cpu", "threads": 1, "workers": 0, "compile": False, "log_every": 1}
    return dataclasses.replace(
        config, run_dir=str(tmp_path / "runs"), data=data, optimizer=optimizer, **common | changes
    )


def test_the_recipe_for_trying_things_out_needs_nothing_but_a_clone(tmp_path):
    root = RECIPES.parents[1]
    content = yaml.safe_load((RECIPES / "smoke.yaml").read_text())
    content["data"]["cache"] = str(tmp_path / "cache")
    content |= {"run_dir": str(tmp_path), "threads": 1}
    content["optimizer"] |= {"steps": 3, "warmup": 1}
    file = tmp_path / "smoke.yaml"
    file.write_text(yaml.safe_dump(content))
    for stage in ("prepare", "train", "discriminate", "export"):
        command = [sys.executable, "-m", "training", stage, str(file)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert load_checkpoint(tmp_path / "smoke" / "checkpoint.pt")["step"] == 3
    assert (tmp_path / "smoke" / "model.onnx").is_file()
    named = [content["data"]["clips"], content["teacher"]["path"]]
    assert all((root / path).is_file() and ".." not in path for path in named)


def test_one_full_step_of_the_papers_recipe_on_real_speech(tiny_config, tmp_path, save_wavlm):
    _, path = save_wavlm("microsoft", large=True)
    teacher = TeacherConfig(str(path), layers=(1, 2, 3))
    config = streaming(tiny_config, "paper", tmp_path, teacher=teacher)
    trainer = Trainer(config)
    # Biases before a BatchNorm have no effect, and so no gradient.
    matrices = {n: p for n, p in trainer.objective.named_parameters() if p.dim() > 1}
    before = {name: value.detach().clone() for name, value in matrices.items()}
    found = trainer.advance()
    assert set(found) == {"layers", "speaker", "lr"}
    assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    assert [name for name, value in matrices.items() if torch.equal(value, before[name])] == []


def test_the_bundled_recipe_learns_from_a_wavlm(tiny_config, tmp_path, save_wavlm):
    _, path = save_wavlm("pytorch_model.bin", large=True)
    teacher = TeacherConfig(str(path), layers=(1, 2, 3))
    config = streaming(tiny_config, "default-wavlm", tmp_path, teacher=teacher)
    bundled = load_config(RECIPES / "default.yaml")
    assert config.model == bundled.model
    trainer = Trainer(config)
    assert set(trainer.advance()) == {"layers", "speaker", "lr"}
    named = load_config(RECIPES / "default-wavlm.yaml")
    assert (named.data.clips, named.data.sounds) == (bundled.data.clips, bundled.data.sounds)
    assert named.data.source_weights == bundled.data.source_weights


SMALL = PaperConfig(
    depth=2,
    dim=16,
    groups=4,
    token_hidden=8,
    front_end_channels=8,
    back_end_channels=8,
    se_bottleneck=4,
    pooled_channels=12,
    attention_hidden=4,
    embedding=16,
)


def small_paper(tiny_config, tmp_path, **changes):
    config = streaming(tiny_config, "paper", tmp_path, paper=SMALL, teacher=tiny_config.teacher)
    loss = dataclasses.replace(config.loss, embedding=1.0, relational=0.5, hidden=1.0)
    return dataclasses.replace(config, loss=loss, **changes)


def test_the_papers_student_trains_with_dropout_and_resumes_where_it_stopped(tiny_config, tmp_path):
    config = small_paper(tiny_config, tmp_path)
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, steps=4))
    whole = load_checkpoint(train(dataclasses.replace(config, name="whole"), quiet))
    parts = dataclasses.replace(config, name="parts")
    first = Trainer(parts)
    first.advance()
    first.advance()
    first.save()
    resumed = load_checkpoint(train(parts, quiet))
    for name in ("student", "average", "heads"):
        assert whole[name]
        assert all(torch.equal(value, resumed[name][key]) for key, value in whole[name].items())


def test_two_processes_leave_the_statistics_that_one_leaves(
    tiny_config, tmp_path, by_two_processes
):
    config = small_paper(tiny_config, tmp_path)
    optimizer = dataclasses.replace(config.optimizer, steps=4, accumulate=2)
    one = dataclasses.replace(config, optimizer=optimizer, name="one")
    two = dataclasses.replace(one, name="two")
    alone = load_checkpoint(train(one, quiet))
    by_two_processes(two)
    together = load_checkpoint(two.folder / "checkpoint.pt")
    for name in ("student", "average"):
        statistics = [key for key in alone[name] if "running_" in key or "batches" in key]
        assert len(statistics) >= 6
        for key in statistics:
            first, second = alone[name][key], together[name][key]
            assert torch.allclose(first, second, rtol=1e-3, atol=1e-4), key


def test_the_papers_back_end_hears_noise_in_training_only():
    torch.manual_seed(0)
    network = PaperNetwork(dataclasses.replace(SMALL, dropout=0.0))
    frames = torch.randn(3, 149, 16)
    norm, clean = network.student.back_end.feature_norm, frames.transpose(1, 2)
    expected = torch.nn.functional.instance_norm(clean)
    added = norm(clean) - expected
    spread = added.flatten(1).std(dim=1)
    assert ((spread > 0.0005) & (spread < 0.0115)).all()
    assert torch.equal(norm.eval()(clean), expected)


def test_a_causal_student_learns_from_the_papers(tiny_config, tmp_path):
    path = train(small_paper(tiny_config, tmp_path), quiet)
    assert load_network(path).kind == "paper"
    config = streaming(tiny_config, "causal-from-paper", tmp_path, teacher=TeacherConfig(str(path)))
    config = dataclasses.replace(config, model=tiny_config.model, name="causal")
    content = load_checkpoint(train(config, quiet))
    assert content["network"] == "causal"
    assert set(content["heads"]) == {"heads.hidden.weight", "heads.hidden.bias", "speakers.centers"}
    assert load_student(tmp_path / "runs" / "causal" / "checkpoint.pt").config == tiny_config.model


def test_the_papers_student_is_not_taken_for_one_that_streams(tiny_config, tmp_path):
    path = train(small_paper(tiny_config, tmp_path), quiet)
    with pytest.raises(ModelLoadError, match="does not stream"):
        load_student(path)


def test_a_crop_that_is_too_short_for_the_paper_is_refused(tiny_config, tmp_path):
    config = small_paper(tiny_config, tmp_path)
    short = dataclasses.replace(config.optimizer, shapes=((2, 20),))
    with pytest.raises(ConfigError, match="38"):
        Trainer(dataclasses.replace(config, optimizer=short)).advance()


def test_losses_that_the_teacher_cannot_serve_are_refused(tiny_config, tmp_path, save_wavlm):
    _, path = save_wavlm("microsoft", large=False)
    config = small_paper(tiny_config, tmp_path, teacher=TeacherConfig(str(path)))
    with pytest.raises(ConfigError, match="no embedding"):
        Trainer(config)


def test_a_cache_of_hidden_states_trains_without_embeddings(tiny_config, tmp_path, save_wavlm):
    _, path = save_wavlm("model.safetensors", large=True)
    config = dataclasses.replace(
        tiny_config,
        run_dir=str(tmp_path / "runs"),
        data=dataclasses.replace(tiny_config.data, cache=str(tmp_path / "cache"), speeds=(1.0,)),
        teacher=TeacherConfig(str(path), layers=(2, -1)),
        loss=dataclasses.replace(
            tiny_config.loss, embedding=0.0, posterior=0.0, frames=0.5, layers=1.0, speaker=1.0
        ),
    )
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(to_mapping(config)))
    command = [sys.executable, "-m", "training"]
    subprocess.run([*command, "prepare", str(file)], cwd=RECIPES.parents[1], check=True)
    index = json.loads((tmp_path / "cache" / "speed-1.00" / "index.json").read_text())
    assert index["layers"] == [32, 32]
    assert index["features"] == 64
    found = Trainer(config).advance()
    assert set(found) == {"frames", "layers", "speaker", "lr"}


def test_a_configuration_survives_its_checkpoint(tiny_config, tmp_path):
    config = small_paper(tiny_config, tmp_path)
    assert load_checkpoint(train(config, quiet))["config"] == to_mapping(config)
