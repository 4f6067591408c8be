from __future__ import annotations

import dataclasses

import pytest
import torch

from training.averaging import main
from training.checkpoint import load_checkpoint, load_student, save_checkpoint
from training.loop import Trainer, train


def quiet(_line):
    pass


def test_the_mean_of_two_stages_loads_and_can_be_started_from(run_config, tmp_path):
    first = train(dataclasses.replace(run_config, name="first"), quiet)
    longer = dataclasses.replace(run_config.optimizer, steps=9)
    second = train(dataclasses.replace(run_config, name="second", optimizer=longer), quiet)
    out = tmp_path / "runs" / "mean" / "checkpoint.pt"
    assert main([str(out), str(first), str(second)]) == 0
    one, two = load_student(first).state_dict(), load_student(second).state_dict()
    mean = load_student(out).state_dict()
    for name, value in mean.items():
        assert torch.allclose(value, (one[name] + two[name]) / 2, atol=1e-7)
    assert any(not torch.equal(value, two[name]) for name, value in mean.items())
    on = Trainer(dataclasses.replace(run_config, name="on", start_from=str(out)))
    assert torch.equal(on.student.embed.weight, mean["embed.weight"])
    assert load_checkpoint(out)["step"] == 9


def test_students_of_different_shapes_are_refused(run_config, tmp_path, capsys):
    first = train(dataclasses.replace(run_config, name="first"), quiet)
    model = dataclasses.replace(run_config.model, depth=1)
    second = train(dataclasses.replace(run_config, name="second", model=model), quiet)
    assert main([str(tmp_path / "mean.pt"), str(first), str(second)]) == 4
    assert "another shape" in capsys.readouterr().err
    assert not (tmp_path / "mean.pt").exists()


def test_students_of_different_kinds_are_refused(run_config, tmp_path, capsys):
    first = train(dataclasses.replace(run_config, name="first"), quiet)
    content = load_checkpoint(first) | {"network": "whole"}
    save_checkpoint(tmp_path / "whole.pt", content)
    assert main([str(tmp_path / "mean.pt"), str(first), str(tmp_path / "whole.pt")]) == 4
    assert "one kind" in capsys.readouterr().err
    assert not (tmp_path / "mean.pt").exists()


@pytest.mark.parametrize("arguments", [[], ["out.pt", "one.pt"]])
def test_too_few_checkpoints_are_a_usage_error(arguments, capsys):
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err
