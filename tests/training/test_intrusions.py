"""The table of what is not the caller, on a set of three voices and one noise."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from streamsv.engine import Engine
from streamsv.evaluation.sets import load_set
from streamsv.events import Verdict
from training import intrusions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """DATA_DIR and SET_DIR in one: ``noise`` with two seconds of hiss, and the bundled voices."""
    (tmp_path / "noise").mkdir()
    hiss = np.random.default_rng(0).normal(0, 0.1, 32_000)
    soundfile.write(tmp_path / "noise" / "hiss.wav", hiss, 16_000)
    (tmp_path / "noise" / "noise.tsv").write_text("path\tkind\nhiss.wav\tnoise\n")
    lines = ["stream\tpath\tspeaker\tsession\tsample_rate\tseconds\tsex\tchannel"]
    for name in ("voice_a_enroll", "voice_a_call", "voice_b_call", "voice_c_call"):
        shutil.copy(str(files("streamsv.clips") / f"{name}.opus"), tmp_path)
        lines.append(f"{name}\t{name}.opus\t{name[:7]}\ts\t16000\t10\t\twideband")
    (tmp_path / "streams.tsv").write_text("\n".join(lines) + "\n")
    trials = ["enroll\ttest\ttarget", "voice_a_enroll\tvoice_a_call\t1"]
    trials += ["voice_a_enroll\tvoice_b_call\t0"]
    (tmp_path / "trials.tsv").write_text("\n".join(trials) + "\n")
    return tmp_path


def test_a_stranger_is_rejected_and_a_tone_is_not_decided(folder: Path) -> None:
    engine = Engine.load()
    people = intrusions.enrolled(engine, load_set(folder), 5)
    voiceprints = list(people.voiceprints.values())
    assert len(voiceprints) == 1
    voice = intrusions.read(folder / "voice_b_call.opus")
    time = np.arange(160_000) / 16_000
    tone = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    found = {
        name: list(intrusions.verdicts(engine, voiceprints, pcm, intrusions.WIDEBAND).values())
        for name, pcm in (("voice", voice), ("tone", tone))
    }
    assert found == {"voice": [Verdict.REJECT], "tone": [Verdict.UNDECIDED]}


def test_the_command_counts_every_sound_and_every_call(folder: Path, capsys: Any) -> None:
    output = folder / "intrusions.json"
    sizes = ["--each", "1", "--calls", "1"]
    intrusions.main([str(folder), str(folder), "-o", str(output), *sizes])
    found = json.loads(output.read_text())
    assert found["sounds"]["noise clips"]["clips"] == 2
    assert found["sounds"]["near-silence"] == {
        "clips": 2,
        "undecided_percent": 100.0,
        "pairs": 2,
        "accepted": 0,
        "rejected": 0,
    }
    assert set(found["calls"]["the call alone"]) == {"caller", "stranger"}
    assert found["calls"]["the call alone"]["stranger"] == [0, 1, 0, 0]
    assert len(found["calls"]) == 3 + 3 * len(intrusions.LEAKS_DB)
    assert all(sum(counts[:3]) == 1 for each in found["calls"].values() for counts in each.values())
    printed = capsys.readouterr().out
    assert found["fingerprint"] in printed
    assert all(name in printed for name in found["calls"])
