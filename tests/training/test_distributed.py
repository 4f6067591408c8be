from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from streamsv.errors import ConfigError
from training.checkpoint import load_checkpoint
from training.distributed import World, join
from training.loop import Trainer, train


def quiet(_line):
    pass


def rows_of(config):
    log = Path(config.run_dir) / config.name / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_two_processes_lose_what_one_loses(run_config, by_two_processes):
    """Twenty steps of two portions each, by one process and by two over gloo."""
    loss = dataclasses.replace(run_config.loss, speaker=0.3, relational=0.5, relational_queue=4)
    optimizer = dataclasses.replace(run_config.optimizer, steps=20, accumulate=2)
    common = dataclasses.replace(run_config, loss=loss, optimizer=optimizer, log_every=1)
    one = dataclasses.replace(common, name="one")
    two = dataclasses.replace(common, name="two")
    train(one, quiet)
    done = by_two_processes(two)
    assert "broadcast_buffers" not in done.stderr
    alone, together = rows_of(one), rows_of(two)
    assert len(alone) == len(together) == 20
    for first, second in zip(alone, together, strict=True):
        for name in ("embedding", "posterior", "frames", "relational", "speaker"):
            assert second[name] == pytest.approx(first[name], abs=1e-4)
    first, second = (
        load_checkpoint(Path(c.run_dir) / c.name / "checkpoint.pt") for c in (one, two)
    )
    assert first["seconds"] == pytest.approx(second["seconds"])
    for name, value in first["student"].items():
        assert torch.allclose(value, second["student"][name], atol=1e-3), name


def test_two_portions_a_step_are_the_mean_of_their_gradients(run_config):
    optimizer = dataclasses.replace(run_config.optimizer, accumulate=2)
    joined = Trainer(dataclasses.replace(run_config, optimizer=optimizer, name="joined"))
    gradients = []
    for number in range(2):
        apart = Trainer(dataclasses.replace(run_config, name=f"part {number}"))
        apart._accumulate(number, [], 1, is_last=True)
        gradients.append([parameter.grad for parameter in apart.student.parameters()])
    for number in range(2):
        joined._accumulate(number, [], 2, is_last=number == 1)
    for parameter, first, second in zip(joined.student.parameters(), *gradients, strict=True):
        assert torch.allclose(parameter.grad, (first + second) / 2, atol=1e-5)


def test_portions_that_cannot_be_shared_out_are_refused(run_config):
    with pytest.raises(ConfigError, match="multiple"):
        Trainer(run_config, World(0, 2, torch.device("cpu")))


def test_a_process_alone_joins_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = join("cpu")
    assert (world.rank, world.size, world.is_first) == (0, 1, True)
    assert world.mean({"a": 1.5}) == {"a": 1.5}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_missing(run_config):
    with pytest.raises(ConfigError, match="no GPU"):
        Trainer(dataclasses.replace(run_config, device="cuda"))


def test_batches_made_ahead_are_those_made_in_time(run_config):
    ahead = dataclasses.replace(run_config, workers=2, name="ahead")
    first, second = (load_checkpoint(train(c, quiet)) for c in (run_config, ahead))
    assert all(torch.equal(v, second["student"][k]) for k, v in first["student"].items())
