from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch.nn import functional as F

from streamsv.config import to_mapping
from streamsv.errors import EvaluationSetError
from streamsv.nn.paper import PaperConfig
from training.loop import train
from training.networks import CausalNetwork, PaperNetwork
from training.protocols import (
    Trial,
    crops_of,
    embedder,
    evaluate,
    read_models,
    read_trials,
)

ROOT = Path(__file__).resolve().parents[2]


def written(tmp_path, text, name="list.txt"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_lists_of_voxceleb_and_of_voices_are_read(tmp_path):
    vox = written(tmp_path, "1 id1/v/1.wav id1/w/2.wav\n0 id1/v/1.wav id2/x/3.wav\n\n")
    assert read_trials(vox) == [
        Trial("id1/v/1.wav", "id1/w/2.wav", True),
        Trial("id1/v/1.wav", "id2/x/3.wav", False),
    ]
    voices = written(tmp_path, "sp1 a.wav tgt\nsp1 b.wav imp\nsp2 b.wav target\n")
    assert [trial.is_target for trial in read_trials(voices)] == [True, False, True]
    models = written(tmp_path, "sp1 a.wav\nsp1 b.wav\nsp2 c.wav\n")
    assert read_models(models) == {"sp1": ["a.wav", "b.wav"], "sp2": ["c.wav"]}


@pytest.mark.parametrize(
    ("text", "word"),
    [("1 a.wav b.wav\n1 a.wav\n", "line 2"), ("maybe a.wav b.wav\n", "maybe"), ("\n", "empty")],
)
def test_a_list_that_is_none_is_refused(tmp_path, text, word):
    with pytest.raises(EvaluationSetError, match=word):
        read_trials(written(tmp_path, text))


def test_ten_crops_lie_evenly_from_the_beginning_to_the_end():
    pcm = np.arange(1000, dtype=np.float32)
    crops = crops_of(pcm, 100, 10)
    assert crops.shape == (10, 100)
    assert crops[:, 0].tolist() == [100.0 * i for i in range(10)]
    short = crops_of(pcm[:30], 100, 10)
    assert short[3].tolist() == (list(range(30)) * 4)[:100]


def sounds(tmp_path):
    """Two voices, four files: noise of two colors."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "sounds"
    folder.mkdir()
    for voice in "ab":
        for part in "12":
            pcm = generator.normal(0, 0.1, 64_000)
            pcm = np.convolve(pcm, np.ones(8) / 8, "same") if voice == "b" else pcm
            soundfile.write(folder / f"{voice}{part}.wav", pcm, 16_000)
    return folder


TRIALS = [
    Trial("a1.wav", "a2.wav", True),
    Trial("b1.wav", "b2.wav", True),
    Trial("a1.wav", "b2.wav", False),
    Trial("b1.wav", "a2.wav", False),
]


def color(pcm):
    """A vector that tells the two colors apart."""
    power = np.abs(np.fft.rfft(pcm)) ** 2
    bands = np.array([part.sum() for part in np.array_split(power, 4)])
    return (bands / np.linalg.norm(bands) - 0.5).astype(np.float32)


def test_a_perfect_system_has_no_errors_and_a_reversed_one_only_errors(tmp_path):
    folder = sounds(tmp_path)
    found = evaluate(color, TRIALS, [tmp_path, folder])
    assert found["eer_percent"] == 0.0
    assert found["min_dcf_01"] == found["min_dcf_05"] == 0.0
    assert (found["targets"], found["impostors"]) == (2, 2)
    flipped = [dataclasses.replace(trial, is_target=not trial.is_target) for trial in TRIALS]
    assert evaluate(color, flipped, [folder])["eer_percent"] == 100.0


def test_a_model_is_the_mean_of_its_files(tmp_path):
    trials = [Trial("anna", "a1.wav", True), Trial("anna", "b1.wav", False)]
    models = {"anna": ["a1.wav", "a2.wav"]}
    assert evaluate(color, trials, [sounds(tmp_path)], models)["eer_percent"] == 0.0


def test_a_file_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(EvaluationSetError, match=r"a1\.wav"):
        evaluate(color, TRIALS, [tmp_path])


def test_a_list_that_cannot_be_scored_is_refused_before_anything_is_heard(tmp_path):
    heard = []

    def embed(pcm):
        heard.append(pcm)
        return color(pcm)

    folder = sounds(tmp_path)
    with pytest.raises(EvaluationSetError, match=r"z9\.wav"):
        evaluate(embed, [*TRIALS, Trial("a1.wav", "z9.wav", True)], [folder])
    with pytest.raises(EvaluationSetError, match="no impostor"):
        evaluate(embed, TRIALS[:2], [folder])
    assert heard == []


def test_ten_crops_are_scored_by_the_mean_of_a_hundred_cosines(tiny_config):
    torch.manual_seed(0)
    network = CausalNetwork(tiny_config.model).eval()
    embed = embedder(network, 10)
    generator = np.random.default_rng(1)
    first, second = (generator.normal(0, 0.1, 64_000).astype(np.float32) for _ in range(2))
    units = []
    for pcm in (first, second):
        crops = torch.from_numpy(crops_of(pcm, 37 * 1280, 10))
        with torch.no_grad():
            units.append(F.normalize(network(crops)[0][:, -1], dim=1))
    by_hand = float((units[0] @ units[1].t()).mean())
    assert float(embed(first) @ embed(second)) == pytest.approx(by_hand, abs=1e-5)


def test_the_papers_student_is_scored_by_crops_only(tiny_config):
    network = PaperNetwork(PaperConfig(depth=1, dim=16, groups=4, token_hidden=8)).eval()
    with pytest.raises(EvaluationSetError, match="crops"):
        embedder(network, 0)
    vector = embedder(network, 2)(np.zeros(60_000, np.float32))
    assert vector.shape == (192,)


def test_a_result_says_what_it_depends_on(run_config, tmp_path):
    train(run_config, lambda _line: None)
    folder = sounds(tmp_path)
    lines = [f"{int(t.is_target)} {t.enroll} {t.test}" for t in TRIALS]
    trials = written(tmp_path, "\n".join(lines), "veri_test2.txt")
    file = written(tmp_path, yaml.safe_dump(to_mapping(run_config)), "tiny.yaml")
    command = [sys.executable, "-m", "training", "evaluate", str(file), str(trials), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    row = json.loads(done.stdout)
    assert row["config"] == run_config.name
    assert row["teacher"] == run_config.teacher.path
    assert row["data"] == run_config.data.clips
    assert row["trials"] == "veri_test2.txt"
    assert {"commit", "seed", "steps", "eer_percent", "min_dcf_01", "min_dcf_05"} <= set(row)
    kept = Path(run_config.run_dir) / run_config.name / "results.jsonl"
    assert json.loads(kept.read_text()) == row
