from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from streamsv.errors import ConfigError
from training.batches import CropSource
from training.config import DataConfig


@pytest.fixture(scope="module")
def source(tiny_config):
    return CropSource(tiny_config.data, seed=3, speaker_share=0.5)


def test_a_batch_depends_on_seed_and_step_alone(source, tiny_config):
    again = CropSource(tiny_config.data, seed=3, speaker_share=0.5)
    source.draw(0, 4, 10)
    first, _ = source.draw(7, 4, 10)
    second, _ = again.draw(7, 4, 10)
    other, _ = source.draw(8, 4, 10)
    assert torch.equal(first.pcm, second.pcm)
    assert torch.equal(first.frames, second.frames)
    assert not torch.equal(first.pcm, other.pcm)


def test_targets_are_centered_unit_vectors(source):
    batch, _ = source.draw(0, 64, 10)
    assert torch.allclose(batch.targets.norm(dim=1), torch.ones(64), atol=1e-5)
    assert np.allclose(np.linalg.norm(source.bank, axis=1), 1.0, atol=1e-5)
    assert source.bank.shape[0] == 6  # three speakers at two speeds


def test_a_full_speaker_share_gives_the_speakers_mean(tiny_config):
    source = CropSource(tiny_config.data, seed=0, speaker_share=1.0)
    batch, _ = source.draw(0, 32, 10)
    nearest = (batch.targets @ torch.from_numpy(source.bank).t()).max(dim=1).values
    assert torch.allclose(nearest, torch.ones(32), atol=1e-5)


def test_frames_past_the_end_of_a_short_clip_are_not_valid(source):
    batch, _ = source.draw(0, 8, 100)
    assert batch.pcm.shape == (8, 100 * 1280)
    lengths = batch.frames_valid.sum(dim=1)
    assert (lengths < 400).all()
    assert (batch.frames[~batch.frames_valid] == 0).all()
    assert (batch.pcm.abs().amax(dim=1) > 0).all()


def test_source_weights_move_the_odds(tiny_config):
    data = dataclasses.replace(tiny_config.data, source_weights={"boo": 5.0})
    assert len(CropSource(data, 0, 0.5)) == 12


def test_a_cache_that_is_not_prepared_says_what_to_run(tmp_path):
    with pytest.raises(ConfigError, match="prepare"):
        CropSource(DataConfig(cache=str(tmp_path), speeds=(1.0,)), 0, 0.5)


@pytest.mark.parametrize(("altered", "voices"), [(False, 3), (True, 6)])
def test_crops_of_every_voice_are_given_alike(source, altered, voices):
    batches = list(source.crops_of_voices(2, 10, batch=4, altered=altered))
    whose = np.concatenate([labels for _, labels in batches])
    assert np.unique(whose).size == voices
    assert (np.bincount(whose)[np.unique(whose)] == 2).all()
    assert all(pcm.shape == (len(labels), 10 * 1280) for pcm, labels in batches)
    assert all((np.abs(pcm).max(axis=1) > 0).all() for pcm, _ in batches)


def test_a_lone_telephone_clip_has_a_target(tiny_config, tmp_path):
    """Centered on itself it would have none, and 0 / 0 as the direction of it."""
    data = dataclasses.replace(tiny_config.data, cache=str(tmp_path / "cache"), speeds=(1.0,))
    shutil.copytree(Path(tiny_config.data.cache), data.cache)
    file = Path(data.cache) / "speed-1.00" / "index.json"
    index = json.loads(file.read_text())
    for number, clip in enumerate(index["clips"]):
        clip["is_telephone"] = number == 0
    file.write_text(json.dumps(index))
    source = CropSource(data, seed=0, speaker_share=0.5)
    batch, _ = source.draw(0, 64, 10)
    assert torch.allclose(batch.targets.norm(dim=1), torch.ones(64), atol=1e-5)
    assert np.isfinite(source.bank).all()
