from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from streamsv.config import to_mapping
from streamsv.errors import ConfigError
from streamsv.evaluation.sets import load_set
from streamsv.scoring.metrics import eer
from training.__main__ import discriminate_stage
from training.checkpoint import load_checkpoint, load_student
from training.devsets import error_rates
from training.discriminant import DiscriminantConfig, discriminate, turned
from training.loop import Trainer, train

ROOT = Path(__file__).resolve().parents[2]
DIMENSION, TELLING = 24, 6


def quiet(_line):
    pass


def voices(seed, count, each=8):
    """Embeddings of voices that differ in a few directions and are alike in loud ones."""
    generator = np.random.default_rng(seed)
    centers = np.zeros((count, 1, DIMENSION))
    centers[..., :TELLING] = generator.normal(size=(count, 1, TELLING))
    spread = np.where(np.arange(DIMENSION) < TELLING, 0.3, 1.0)
    rows = centers + generator.normal(size=(count, each, DIMENSION)) * spread
    labels = np.repeat(np.arange(count), each)
    return torch.from_numpy(rows.reshape(-1, DIMENSION)).float(), labels


def confusion(embeddings, labels):
    """The equal error rate of all pairs."""
    units = torch.nn.functional.normalize(embeddings, dim=1).numpy()
    first, second = np.triu_indices(len(units), 1)
    cosines, same = (units @ units.T)[first, second], labels[first] == labels[second]
    return eer(cosines[same], cosines[~same])


def test_voices_that_were_never_heard_are_told_apart_better():
    embeddings, labels = voices(0, 200)
    matrix = turned(embeddings, labels, DiscriminantConfig(), seed=0)
    unheard, whose = voices(1, 60)
    before, after = confusion(unheard, whose), confusion(unheard @ matrix.t(), whose)
    assert after < 0.85 * before


def test_directions_that_tell_nothing_are_made_shorter():
    matrix = turned(*voices(0, 200), DiscriminantConfig(), seed=0)
    gains = matrix.norm(dim=0)
    assert gains[:TELLING].min() > gains[TELLING:].max()


def test_a_strong_decay_holds_the_layer_where_it_was():
    held = turned(*voices(0, 50), DiscriminantConfig(decay=1e3), seed=0)
    free = turned(*voices(0, 50), DiscriminantConfig(decay=0.0), seed=0)
    identity = torch.eye(DIMENSION)
    assert (held - identity).norm() < 0.05 * (free - identity).norm()


def test_the_same_seed_gives_the_same_layer():
    rows, labels = voices(0, 50)
    first = turned(rows, labels, DiscriminantConfig(), seed=3)
    assert torch.equal(first, turned(rows, labels, DiscriminantConfig(), seed=3))
    assert not torch.equal(first, turned(rows, labels, DiscriminantConfig(), seed=4))


def test_one_voice_cannot_be_told_from_nobody():
    with pytest.raises(ConfigError, match="two of them"):
        turned(torch.ones(3, DIMENSION), np.zeros(3, np.int64), DiscriminantConfig(), seed=0)


def test_the_checkpoint_loads_with_the_layer_and_trains_on_as_it_was(run_config):
    run_config = dataclasses.replace(run_config, name="discriminated")
    checkpoint = train(run_config, quiet)
    before = load_student(checkpoint)
    discriminate_stage(run_config)
    after, trained = load_student(checkpoint), load_student(checkpoint, with_last_layer=False)
    assert not torch.allclose(before.embed.weight, after.embed.weight)
    assert torch.equal(before.embed.weight, trained.embed.weight)
    for name, value in before.state_dict().items():
        if not name.startswith("embed."):
            assert torch.equal(value, after.state_dict()[name])
    longer = dataclasses.replace(run_config.optimizer, steps=8)
    going_on = Trainer(dataclasses.replace(run_config, optimizer=longer))
    assert torch.equal(going_on.average.embed.weight, before.embed.weight)
    assert "last_layer" in load_checkpoint(checkpoint)


def more_voices(*arguments):
    program = [sys.executable, "-m", "training.more_voices", *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)


def test_more_voices_are_judged_by_layers_fitted_to_parts_of_them(run_config, bundled_set):
    checkpoint = train(run_config, quiet)
    file = checkpoint.parent / "config.yaml"
    file.write_text(yaml.safe_dump(to_mapping(run_config)))
    ran = more_voices(str(file), str(checkpoint), str(bundled_set))
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    sizes = [row["voices"] for row in rows]
    assert sizes == sizes[:4] * 3
    assert sizes[:4] == sorted(sizes[:4])
    assert len(rows[0]["errors"]["pooled"]) == 6
    of_all, of_some = rows[3]["errors"]["pooled"], rows[0]["errors"]["pooled"]
    expected = discriminate(dataclasses.replace(run_config, seed=0))
    student = load_student(checkpoint, with_last_layer=False)
    weights = {"embed.weight": expected.weight, "embed.bias": expected.bias}
    student.load_state_dict(student.state_dict() | weights)
    assert of_all == error_rates(student, [load_set(bundled_set)])["pooled"]
    assert of_some != of_all


def test_the_program_says_what_it_wants():
    ran = more_voices()
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("usage: ")


def test_the_program_says_what_is_missing(tmp_path, bundled_set):
    ran = more_voices("configs/train/smoke.yaml", str(tmp_path / "no.pt"), str(bundled_set))
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "no.pt" in ran.stderr
    assert "Traceback" not in ran.stderr
