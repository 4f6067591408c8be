from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from streamsv.config import to_mapping
from streamsv.encoder import Encoder
from streamsv.errors import ConfigError, ModelLoadError
from streamsv.nn.export import export
from training.checkpoint import load_checkpoint, load_student, save_checkpoint
from training.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
    load_config,
)
from training.loop import MOST_SKIPPED, Trainer, train
from training.optimizers import learning_rate

ROOT = Path(__file__).resolve().parents[2]


def quiet(_line):
    pass


def same(first, second):
    return all(torch.equal(a, second[name]) for name, a in first.items())


def test_the_log_of_a_resumed_run_is_that_of_a_whole_one(run_config):
    config = dataclasses.replace(run_config, log_every=4)
    whole, parts = (dataclasses.replace(config, name=name) for name in ("whole log", "parts log"))
    train(whole, quiet)
    first = Trainer(parts)
    for _ in range(3):  # between two rows
        first.advance()
    first.skipped = 2
    first.save()
    train(parts, quiet)
    rows = [json.loads((each.folder / "log.jsonl").read_text()) for each in (whole, parts)]
    assert [row["step"] for row in rows] == [4, 4]
    assert [row["skipped"] for row in rows] == [0, 2]
    for name in ("embedding", "posterior", "frames", "lr"):
        assert rows[0][name] == rows[1][name]


@pytest.mark.parametrize("method", ["adamw", "muon"])
def test_a_run_interrupted_and_resumed_ends_where_a_whole_run_ends(run_config, method):
    optimizer = dataclasses.replace(run_config.optimizer, method=method)
    run_config = dataclasses.replace(run_config, optimizer=optimizer)
    whole = load_checkpoint(train(dataclasses.replace(run_config, name="whole"), quiet))
    parts = dataclasses.replace(run_config, name="parts")
    first = Trainer(parts)
    for _ in range(3):
        first.advance()
    first.save()
    resumed = load_checkpoint(train(parts, quiet))
    assert resumed["step"] == whole["step"] == 6
    assert same(whole["student"], resumed["student"])
    assert same(whole["average"], resumed["average"])


def test_a_run_killed_without_warning_goes_on_from_its_checkpoint(run_config):
    config = dataclasses.replace(run_config, name="killed", checkpoint_every=1)
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, steps=400))
    file = Path(run_config.run_dir) / "killed.yaml"
    file.write_text(yaml.safe_dump(to_mapping(config)))
    command = [sys.executable, "-m", "training", "train", str(file)]
    checkpoint = Path(config.run_dir) / "killed" / "checkpoint.pt"
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = load_checkpoint(checkpoint)["step"]
    assert 0 < done < 400
    steps = done + 2
    short = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, steps=400))
    trainer = Trainer(short)
    assert trainer.step == done
    while trainer.step < steps:
        trainer.advance()
    straight = Trainer(dataclasses.replace(short, name="straight"))
    while straight.step < steps:
        straight.advance()
    assert same(trainer.student.state_dict(), straight.student.state_dict())


def test_the_losses_fall(run_config):
    config = dataclasses.replace(
        run_config,
        optimizer=dataclasses.replace(run_config.optimizer, steps=120, warmup=10),
        augment=AugmentConfig(room=0, noise=0, babble=0, equalizer=0, telephone=0, clipping=0),
        log_every=20,
    )
    train(config, quiet)
    lines = (Path(config.run_dir) / config.name / "log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[-1]["embedding"] < rows[0]["embedding"]
    assert rows[-1]["frames"] < rows[0]["frames"]
    assert {"step", "lr", "audio_s_per_s", "left_s"} <= set(rows[0])


def test_what_was_trained_is_what_the_runtime_steps(run_config, tmp_path):
    checkpoint = train(run_config, quiet)
    student = load_student(checkpoint)
    exported = export(student, tmp_path / "tiny.onnx", {"note": "test"})
    encoder = Encoder(exported.path)
    assert encoder.fingerprint == exported.fingerprint
    pcm = (np.random.default_rng(0).normal(0, 0.1, (1, 1280 * 4))).astype(np.float32)
    with torch.no_grad():
        expected = student(torch.from_numpy(pcm)).numpy()
    state = encoder.initial_state()
    for hop in range(4):
        embedding, state = encoder.step(pcm[:, hop * 1280 : (hop + 1) * 1280], state)
        assert np.abs(embedding - expected[:, hop]).max() < 1e-4


def test_the_learning_rate_rises_and_falls(tiny_config):
    schedule = dataclasses.replace(tiny_config.optimizer, steps=100, warmup=10)
    rates = [learning_rate(schedule, step) for step in range(101)]
    assert max(rates) == pytest.approx(schedule.peak_rate)
    assert rates[0] < rates[5] < rates[10] > rates[50] > rates[100]
    assert rates[100] == pytest.approx(schedule.final_rate)


def test_adamw_hands_over_to_sgd_and_a_resumed_run_does_not_notice(run_config):
    optimizer = dataclasses.replace(run_config.optimizer, sgd_after=3, sgd_peak_rate=0.01)
    config = dataclasses.replace(run_config, optimizer=optimizer)
    rates = [learning_rate(optimizer, step) for step in range(7)]
    assert rates[3] == pytest.approx(0.01)
    assert rates[6] == pytest.approx(optimizer.sgd_final_rate)
    whole = load_checkpoint(train(dataclasses.replace(config, name="whole"), quiet))
    for stop in (2, 3, 4):
        parts = dataclasses.replace(config, name=f"parts {stop}")
        first = Trainer(parts)
        while first.step < stop:
            first.advance()
        first.save()
        kind = torch.optim.AdamW if stop <= 3 else torch.optim.SGD
        assert isinstance(first.optimizer, kind)
        resumed = load_checkpoint(train(parts, quiet))
        assert same(whole["student"], resumed["student"])


def test_a_student_that_cannot_match_its_teacher_is_refused(run_config):
    wrong = dataclasses.replace(run_config.model, embedding=DIFFERENT)
    with pytest.raises(ConfigError, match="embedding"):
        Trainer(dataclasses.replace(run_config, model=wrong))


DIFFERENT = 20


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(ModelLoadError, match="checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "train").glob("*.yaml")))
def test_every_recipe_is_a_valid_configuration(file):
    assert load_config(file).name == file.stem


def test_an_unknown_key_is_named_with_its_file(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("name: x\nloss: {embeding: 1.0}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: loss\.embeding"):
        load_config(file)


def test_a_finished_run_that_is_trained_again_keeps_its_fitted_last_layer(run_config):
    path = train(run_config, quiet)
    content = load_checkpoint(path)
    content["last_layer"] = {
        name: content["average"][name] + 1.0 for name in ("embed.weight", "embed.bias")
    }
    save_checkpoint(path, content)
    assert train(run_config, quiet) == path
    assert same(content["last_layer"], load_checkpoint(path)["last_layer"])


def poisoned(run_config, **changes):
    """A trainer whose every loss is NaN."""
    trainer = Trainer(dataclasses.replace(run_config, **changes))
    trainer.feed.source._targets[:] = np.nan
    return trainer


def test_a_run_that_learns_nothing_says_so(run_config):
    trainer = poisoned(run_config)
    before = {name: value.clone() for name, value in trainer.student.state_dict().items()}
    for _ in range(MOST_SKIPPED - 1):
        trainer.advance()
    with pytest.raises(ConfigError, match=r"not finite: .*embedding"):
        trainer.advance()
    assert trainer.skipped == MOST_SKIPPED
    assert same(before, trainer.student.state_dict())


def test_the_log_counts_the_steps_that_were_skipped(run_config):
    train(run_config, quiet)
    log = Path(run_config.run_dir) / run_config.name / "log.jsonl"
    assert [json.loads(line)["skipped"] for line in log.read_text().splitlines()] == [0, 0, 0]


def test_a_run_of_another_shape_or_optimizer_is_not_gone_on_with(run_config):
    path = train(run_config, quiet)
    model = dataclasses.replace(run_config.model, channel_hidden=24)
    wider = dataclasses.replace(run_config, model=model)
    with pytest.raises(ConfigError, match="another shape"):
        Trainer(wider)
    with pytest.raises(ConfigError, match="start_from"):
        Trainer(dataclasses.replace(wider, name="wider", start_from=str(path)))
    muon = dataclasses.replace(run_config.optimizer, method="muon")
    with pytest.raises(ConfigError, match="optimizer"):
        Trainer(dataclasses.replace(run_config, optimizer=muon))
    content = load_checkpoint(path)
    del content["optimizer"]
    save_checkpoint(path, content)
    with pytest.raises(ConfigError, match="start_from"):
        Trainer(run_config)


@pytest.mark.parametrize("key", ["threads", "checkpoint_every", "log_every"])
def test_nothing_can_be_done_every_zero_steps_or_by_zero_threads(key):
    with pytest.raises(ConfigError, match=key):
        TrainConfig(name="x", **{key: 0})


def test_values_that_no_run_can_have_are_named():
    with pytest.raises(ConfigError, match=r"loss\.min_prefix_hops"):
        LossConfig(min_prefix_hops=0)
    with pytest.raises(ConfigError, match=r"loss\.prefix_points_s"):
        LossConfig(prefix_points_s=(0.0,))
    with pytest.raises(ConfigError, match=r"data\.speeds"):
        DataConfig(speeds=())
    with pytest.raises(ConfigError, match=r"data\.speeds"):
        DataConfig(speeds=(0.0,))
    with pytest.raises(ConfigError, match=r"optimizer\.steps"):
        OptimizerConfig(steps=0)
    with pytest.raises(ConfigError, match=r"optimizer\.shape_shares"):
        OptimizerConfig(shape_shares=(0.0, 0.0))
