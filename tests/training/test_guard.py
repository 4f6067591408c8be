"""The speech head learns from clips of this test's own folder, and from nothing else."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from streamsv.encoder import Encoder
from streamsv.nn.config import ModelConfig
from streamsv.nn.export import export, fingerprint
from streamsv.nn.guard import HeadConfig, digest, load_head
from streamsv.nn.student import Student
from training import guard
from training.checkpoint import save_checkpoint
from training.guard_clips import FOLDS, Clip, made, planned

TINY = ModelConfig(
    mels=24,
    dim=16,
    depth=3,
    summary_dim=6,
    channel_hidden=12,
    half_rate_hidden=8,
    group_groups=16,
    pooling_dim=20,
    attention_dim=6,
    embedding=10,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three voices and four hisses, in the layout of the training data."""
    generator = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    (tmp_path / "train").mkdir()
    rows = "room.wav\troom\n"
    for fold in range(1, FOLDS + 1):
        name = f"esc_-_Hiss_{fold}-100-A.wav"
        soundfile.write(tmp_path / "noise" / name, generator.normal(0, 0.1, 32_000), 16_000)
        rows += f"{name}\tnoise\n"
    soundfile.write(tmp_path / "noise" / "room.wav", np.exp(-np.arange(800) / 100), 16_000)
    (tmp_path / "noise" / "noise.tsv").write_text(f"path\tkind\n{rows}")
    lines = ["path\tsource\tseconds"]
    for name in ("voice_a_call", "voice_b_call", "voice_c_call"):
        clip = files("streamsv.clips") / f"{name}.opus"
        (tmp_path / "train" / f"{name}.opus").write_bytes(clip.read_bytes())
        lines.append(f"{name}.opus\tbundled\t6.0")
    (tmp_path / "train" / "train.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_clips_are_the_same_in_any_order_and_every_kind_is_made(data: Path) -> None:
    clips = planned(data, 1)
    assert clips == planned(data, 1)
    assert {clip.fold for clip in clips} == set(range(FOLDS))
    by_kind = {clip.kind: clip for clip in clips}
    assert {"speech", "turns", "looped vowel", "music", "singing", "noise: hiss"} <= set(by_kind)
    rooms = (data / "noise" / "room.wav",)
    once = {kind: made(clip, rooms) for kind, clip in by_kind.items()}
    for kind, clip in reversed(by_kind.items()):
        again = made(clip, rooms)
        np.testing.assert_array_equal(again.pcm, once[kind].pcm)
        assert again.pcm.dtype == np.float32
        assert len(again.pcm) == len(again.is_speech)
        assert np.isfinite(again.pcm).all()
        expected = {"speech": 1.0}.get(kind, 0.0)
        if kind != "turns":
            assert again.is_speech.mean() == expected
    assert 0 < once["turns"].is_speech.mean() < 1


def learned(seed: int) -> tuple[list[Clip], guard.Heard, HeadConfig]:
    """Clips whose hops differ by kind as day and night."""
    generator = torch.Generator().manual_seed(seed)
    clips = [Clip("speech" if k % 2 else "music", k % FOLDS, (seed, k)) for k in range(256)]
    is_speech = torch.tensor([float(clip.kind == "speech") for clip in clips])
    hops = torch.randn(256, guard.MOST_HOPS, 12, generator=generator)
    hops *= 0.1 + 2 * is_speech[:, None, None]
    speech = is_speech[:, None].expand(-1, guard.MOST_HOPS)
    heard = guard.Heard(hops.half(), torch.full((256,), 25), speech)
    return clips, heard, HeadConfig(taps=(0,), dim=12, measures=8, hidden=8)


def test_a_head_learns_what_moves_from_what_does_not_and_the_same_twice() -> None:
    clips, heard, config = learned(0)
    head = guard.fit(clips, heard, config)
    assert digest(guard.fit(clips, heard, config)) == digest(head)
    others, unheard, _ = learned(1)
    means = guard.judged(head, unheard)
    for clip, mean in zip(others, means.tolist(), strict=True):
        assert (mean > 0) == (clip.kind == "speech")


def test_the_command_leaves_a_head_that_the_export_takes(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = Student(TINY).eval()
    content = {"model_config": dataclasses.asdict(TINY), "average": student.state_dict()}
    save_checkpoint(tmp_path / "checkpoint.pt", content)
    output = tmp_path / "head.pt"
    command = [str(data), str(tmp_path / "checkpoint.pt"), "-o", str(output)]
    guard.main([*command, "--processes", "1", "--every", "41"])
    head = load_head(output)
    assert head.student == fingerprint(student)
    assert head.fitted_on["cross_validated"]["music"]["clips"] > 0
    exported = export(student, tmp_path / "model.onnx", {}, head)
    assert Encoder(exported.path).speech_head["digest"] == digest(head)
