from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from streamsv.errors import ConfigError
from training.checkpoint import load_checkpoint
from training.disk import DiskSource
from training.loop import Trainer, train
from training.manifest import Clip, read_clips
from training.sound import read_stretch


@pytest.fixture
def clips(tiny_config):
    return read_clips(Path(tiny_config.data.clips))


def test_a_batch_depends_on_seed_and_step_alone(clips):
    source, again = DiskSource(clips, 3, gate=False), DiskSource(clips, 3, gate=False)
    source.draw(0, 4, 10)
    first, second = source.draw(7, 4, 10)[0], again.draw(7, 4, 10)[0]
    assert torch.equal(first.pcm, second.pcm)
    assert torch.equal(first.speakers, second.speakers)
    assert not torch.equal(first.pcm, source.draw(8, 4, 10)[0].pcm)


def test_speakers_are_drawn_evenly_however_many_clips_they_have(clips):
    many = [clip for clip in clips if clip.speaker == "a"] * 10
    source = DiskSource([*many, *(clip for clip in clips if clip.speaker != "a")], 0, gate=False)
    drawn = torch.cat([source.draw(step, 50, 1)[0].speakers for step in range(6)])
    shares = torch.bincount(drawn) / len(drawn)
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=0.1)
    assert source.class_sizes.tolist() == [20, 2, 2]


def test_a_crop_is_a_stretch_of_its_file(tmp_path):
    pcm = (np.arange(32_000) % 20_000 / 32_768).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", pcm, 16_000, subtype="PCM_16")
    for start, first in ((0.0, 0), (0.5, 16_000 // 320 // 2 * 320), (1.0, 16_000)):
        found = read_stretch(tmp_path / "x.wav", start, 16_000)
        assert np.abs(found - pcm[first : first + 16_000]).max() < 1e-3


def test_another_rate_is_brought_to_16_khz(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "x.wav", tone, 8000)
    found = read_stretch(tmp_path / "x.wav", 0.0, 12_000)
    assert len(found) == 12_000
    power = np.abs(np.fft.rfft(found))
    assert np.argmax(power) * 16_000 / 12_000 == pytest.approx(440, abs=2)


def test_short_clips_repeat_and_silence_is_left_out(tmp_path, clips):
    speech = read_stretch(clips[0].path, 0.0, 32_000)
    padded = np.concatenate([np.zeros(32_000, np.float32), speech, np.zeros(32_000, np.float32)])
    soundfile.write(tmp_path / "x.wav", padded, 16_000)
    clip = Clip(tmp_path / "x.wav", "books", "x", "1", 16_000)
    gated = DiskSource([clip], 0, gate=True).draw(0, 6, 50)[0].pcm
    plain = DiskSource([clip], 0, gate=False).draw(0, 6, 50)[0].pcm
    assert gated.square().mean() > 1.3 * plain.square().mean()
    long = DiskSource([clip], 0, gate=False).draw(0, 1, 100)[0].pcm[0]
    assert torch.allclose(long[:1000], long[96_000:97_000])


def test_a_speaker_at_another_speed_is_another_voice(clips):
    speeds = (1.0, 0.8)
    source = DiskSource(clips, 0, gate=False, speeds=speeds)
    assert source.class_sizes.tolist() == [2] * 6
    batch = source.draw(0, 60, 25)[0]
    assert set(batch.speakers.tolist()) == set(range(6))
    plain = DiskSource(clips, 0, gate=False)
    as_recorded = plain.draw(0, 60, 25)[0]
    fast = batch.speakers % 2 == 0
    assert torch.equal(batch.speakers // 2, as_recorded.speakers)
    assert torch.equal(batch.pcm[fast], as_recorded.pcm[fast])
    assert not torch.allclose(batch.pcm[~fast], as_recorded.pcm[~fast], atol=1e-2)


def test_a_slower_crop_has_a_lower_pitch(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(64_000) / 16_000)
    soundfile.write(tmp_path / "x.wav", tone, 16_000)
    clip = Clip(tmp_path / "x.wav", "books", "x", "1", 16_000)
    pcm = DiskSource([clip], 0, gate=False, speeds=(0.8,)).draw(0, 1, 25)[0].pcm[0]
    assert int(torch.fft.rfft(pcm).abs().argmax()) * 16_000 / len(pcm) == pytest.approx(800, abs=1)


def test_source_weights_say_how_often_a_source_is_drawn(clips):
    other = [dataclasses.replace(clip, source="calls") for clip in clips if clip.speaker == "a"]
    source = DiskSource([*clips, *other], 0, gate=False, source_weights={"cal": 3.0})
    drawn = torch.cat([source.draw(step, 50, 1)[0].speakers for step in range(6)])
    assert float((drawn == 3).float().mean()) == pytest.approx(0.75, abs=0.08)


def test_a_word_in_silence_does_not_become_a_loop(tmp_path, clips):
    word = read_stretch(clips[0].path, 0.5, 4000)
    pcm = np.concatenate([np.zeros(44_000, np.float32), word, np.zeros(52_000, np.float32)])
    soundfile.write(tmp_path / "x.wav", pcm, 16_000)
    clip = Clip(tmp_path / "x.wav", "books", "x", "1", 16_000)
    gated = DiskSource([clip], 0, gate=True).draw(0, 4, 37)[0].pcm
    assert (gated.abs() > 1e-3).float().mean(dim=1).max() < 0.2


@pytest.mark.parametrize("key", ["warps", "relational_queue"])
def test_what_only_a_cache_can_do_is_refused_without_one(run_config, key):
    config = from_disk(run_config)
    if key == "warps":
        parts = {"data": dataclasses.replace(config.data, warps=((1.1, 0.9),))}
    else:
        parts = {"loss": dataclasses.replace(config.loss, relational=1.0, relational_queue=8)}
    with pytest.raises(ConfigError, match=key):
        dataclasses.replace(config, **parts)


def test_a_cache_is_always_gated(run_config):
    with pytest.raises(ConfigError, match=r"data\.gate"):
        dataclasses.replace(run_config, data=dataclasses.replace(run_config.data, gate=False))


@pytest.mark.parametrize("content", [b"nonsense", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "x.wav"
    if content is None:
        soundfile.write(path, np.zeros(0), 16_000)
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.wav"):
        read_stretch(path, 0.0, 100)


def from_disk(run_config, name="disk", **losses):
    loss = dataclasses.replace(
        run_config.loss, frames=0.0, posterior=0.0, hidden=0.5, speaker=0.5, **losses
    )
    data = dataclasses.replace(run_config.data, stream=True, cache="nowhere")
    return dataclasses.replace(run_config, name=name, loss=loss, data=data)


def test_a_run_from_disk_needs_no_cache_and_resumes_where_it_stopped(run_config):
    whole = load_checkpoint(train(from_disk(run_config, "whole"), lambda _line: None))
    parts = from_disk(run_config, "parts")
    first = Trainer(parts)
    for _ in range(3):
        first.advance()
    first.save()
    resumed = load_checkpoint(train(parts, lambda _line: None))
    for name in ("student", "average", "heads"):
        assert all(torch.equal(value, resumed[name][key]) for key, value in whole[name].items())


def test_fine_tuning_begins_with_the_speakers_of_the_run_before(run_config):
    path = train(from_disk(run_config, "before"), lambda _line: None)
    after = from_disk(run_config, "after", margin=0.5, hard_margin=0.0, embedding=0.0)
    after = dataclasses.replace(after, start_from=str(path))
    before, trainer = load_checkpoint(path), Trainer(after)
    centers = trainer.objective.discarded()["speakers.centers"]
    assert torch.equal(centers, before["heads"]["speakers.centers"])
    weights = trainer.student.state_dict()
    assert all(torch.equal(value, before["average"][name]) for name, value in weights.items())
    other = dataclasses.replace(after, name="other", network="paper")
    with pytest.raises(ConfigError):
        Trainer(other)


def test_the_teacher_hears_the_clean_crop_and_the_student_the_damaged_one(run_config):
    trainer = Trainer(from_disk(run_config))
    portion = trainer.feed.get(0)
    heard = trainer.feed._teacher.hear(portion.batch.pcm)
    assert torch.allclose(portion.batch.frames, heard.layers[0])
    assert not torch.allclose(portion.damaged, portion.batch.pcm, atol=1e-3)
    assert torch.allclose(portion.batch.targets.norm(dim=1), torch.ones(len(heard.embedding)))


def test_losses_that_need_a_cache_are_refused_without_one(run_config):
    with pytest.raises(ConfigError, match="cache"):
        dataclasses.replace(from_disk(run_config), loss=run_config.loss)
