"""The student that hears whole clips: the same parameters, but not causal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from streamsv.errors import ConfigError, ModelLoadError
from streamsv.evaluation.sets import load_set
from streamsv.nn.config import HOP_SAMPLES
from streamsv.nn.macs import count_macs
from streamsv.nn.student import Student
from training.checkpoint import load_network, load_student
from training.devsets import HeardTrials, repeated_embeddings
from training.loop import train
from training.networks import WholeNetwork
from training.whole import WholeStudent


def quiet(_line):
    pass


@pytest.fixture
def whole(tiny_config):
    torch.manual_seed(0)
    return WholeStudent(tiny_config.model).eval()


def test_the_same_parameters_at_the_same_cost_but_for_what_is_said_once(tiny_config, whole):
    causal = Student(tiny_config.model)
    assert {k: v.shape for k, v in whole.state_dict().items()} == {
        k: v.shape for k, v in causal.state_dict().items()
    }
    second = torch.zeros(1, 12 * HOP_SAMPLES)
    assert 0.8 < count_macs(whole, second) / count_macs(causal, second) <= 1


@torch.no_grad()
def test_what_comes_later_changes_what_was_said_before(tiny_config, whole):
    pcm = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 6 * HOP_SAMPLES))).float()
    changed = pcm.clone()
    changed[:, 4 * HOP_SAMPLES :] *= 0.1
    causal = Student(tiny_config.model).eval()
    for student, differs in ((whole, True), (causal, False)):
        one, other = (student.step_details(x, student.init_state(1))[0] for x in (pcm, changed))
        for before, after in zip(one.hidden, other.hidden, strict=True):
            assert torch.equal(before[:, :12], after[:, :12]) is not differs


@torch.no_grad()
def test_a_clip_played_backwards_is_summed_up_alike_by_the_memory(whole):
    block = whole.blocks[0].tokens
    torch.nn.init.zeros_(block.wide.weight)
    torch.nn.init.zeros_(block.narrow.weight)
    frames = torch.randn(1, 8, whole.config.dim)
    there, _ = block.step(frames, {})
    back, _ = block.step(frames.flip(1), {})
    assert torch.allclose(there, back.flip(1), atol=1e-6)


def test_training_it_leaves_a_checkpoint_that_is_heard_anew_at_each_point(run_config, bundled_set):
    config = dataclasses.replace(run_config, network="whole", name="whole")
    path = train(config, quiet)
    network = load_network(path)
    assert isinstance(network, WholeNetwork)
    with pytest.raises(ModelLoadError, match="whole clips"):
        load_student(path)
    chosen = load_set(bundled_set)
    trials = HeardTrials(network.student, chosen, (1.0, None))
    assert len(trials.at(1.0)[0]) == len(chosen.trials)
    assert not np.array_equal(trials.at(1.0)[0], trials.at(None)[0])
    with pytest.raises(ValueError, match="none of the points"):
        trials.at(2.0)


@torch.no_grad()
def test_an_early_embedding_is_that_of_the_clip_up_to_there(whole):
    pcm = np.random.default_rng(1).normal(0, 0.1, 20 * HOP_SAMPLES + 5).astype(np.float32)
    heard = repeated_embeddings(whole, [pcm, pcm[: 5 * HOP_SAMPLES]], (1.0, None))
    assert [len(rows) for rows in heard] == [20, 5]
    cut = whole(torch.from_numpy(pcm[None, : 12 * HOP_SAMPLES]))[0, -1].numpy()
    assert np.allclose(heard[0][11], cut)
    assert np.flatnonzero(heard[0].any(axis=1)).tolist() == [11, 19]
    assert np.flatnonzero(heard[1].any(axis=1)).tolist() == [4]


@pytest.mark.parametrize("change", [{"memory": "none"}, {"front_end": "waveform"}])
def test_what_has_no_such_twin_is_refused(tiny_config, change):
    with pytest.raises(ConfigError, match="whole clips"):
        WholeStudent(dataclasses.replace(tiny_config.model, **change))
