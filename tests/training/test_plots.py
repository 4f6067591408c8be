from __future__ import annotations

import json
from pathlib import Path

from training.loop import train
from training.plots import plot_run, read_log


def test_a_run_leaves_a_picture_of_its_losses(run_config):
    train(run_config, lambda _line: None)
    picture = Path(run_config.run_dir) / run_config.name / "losses.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_a_resumed_run_logged_twice_counts_once(tmp_path):
    lines = [{"step": s, "embedding": v, "lr": 0.1} for s, v in ((1, 0.9), (2, 0.8), (2, 0.7))]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "embe'
    (tmp_path / "log.jsonl").write_text(text)
    assert read_log(tmp_path / "log.jsonl")["embedding"] == [(1, 0.9), (2, 0.7)]


def test_without_a_log_there_is_no_picture(tmp_path):
    assert plot_run(tmp_path) is None
