from __future__ import annotations

import numpy as np
import pytest
import torch

from streamsv.errors import ConfigError
from training.whitening import LastLayer, whitened, within_class


def voices(generator, count=40, each=30, dimension=12):
    """Embeddings of voices that all move along one direction."""
    centers = generator.normal(size=(count, 1, dimension))
    spread = np.full(dimension, 0.1)
    spread[0] = 3.0
    rows = centers + generator.normal(size=(count, each, dimension)) * spread + 5.0
    return rows.reshape(-1, dimension), np.repeat(np.arange(count), each)


def test_the_covariance_within_voices_is_that_which_made_them():
    rows, labels = voices(np.random.default_rng(0))
    mean, covariance = within_class(rows, labels)
    assert np.abs(mean - rows.mean(axis=0)).max() < 1e-9
    wanted = np.diag([9.0] + [0.01] * 11)
    assert np.abs(covariance - wanted).max() < 0.6


def test_after_whitening_a_voice_moves_alike_in_all_directions():
    rows, labels = voices(np.random.default_rng(1))
    mean, covariance = within_class(rows, labels)
    layer = whitened(LastLayer(torch.eye(12), torch.zeros(12)), mean, covariance, ridge=1e-6)
    moved = rows @ layer.weight.double().numpy().T + layer.bias.double().numpy()
    new_mean, new_covariance = within_class(moved, labels)
    assert np.abs(new_mean).max() < 1e-4
    assert new_covariance == pytest.approx(np.eye(12) * new_covariance[0, 0], abs=1e-3)


def test_the_ridge_keeps_directions_that_hardly_move_from_growing():
    rows, labels = voices(np.random.default_rng(2))
    mean, covariance = within_class(rows, labels)
    identity = LastLayer(torch.eye(12), torch.zeros(12))
    gains = [
        torch.linalg.svdvals(whitened(identity, mean, covariance, ridge).weight)
        for ridge in (1e-6, 1.0, 1000.0)
    ]
    contrasts = [float(gain.max() / gain.min()) for gain in gains]
    assert contrasts[0] > contrasts[1] > contrasts[2]
    assert contrasts[2] < 1.1


def test_voices_heard_once_cannot_be_whitened_by():
    with pytest.raises(ConfigError, match="heard twice"):
        within_class(np.eye(3), np.arange(3))
