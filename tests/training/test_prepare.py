from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from streamsv.audio.config import GateConfig
from streamsv.errors import ConfigError
from training.__main__ import prepare_stage
from training.batches import CropSource
from training.config import TeacherConfig
from training.manifest import read_clips, read_sounds
from training.prepare import CachedClip, Voice, load_speech, prepare
from training.provenance import provenance_of
from training.teachers import OnnxTeacher, kaldi_filterbanks


def clips_of(config, speed):
    folder = Voice(speed=speed).folder(Path(config.data.cache))
    index = json.loads((folder / "index.json").read_text())
    return folder, [CachedClip(**clip) for clip in index["clips"]], index


def test_the_cache_holds_the_gated_speech_of_every_clip(tiny_config):
    folder, clips, _ = clips_of(tiny_config, 1.0)
    speech = np.fromfile(folder / "speech.i16", "<i2")
    root = Path(tiny_config.data.clips).parent
    assert len(clips) == 6
    for clip in clips:
        gated = load_speech(root / clip.path, GateConfig())
        cached = speech[clip.start : clip.start + clip.samples] / 32767
        assert np.abs(cached - np.clip(gated, -1, 1)).max() < 1e-4
    assert sum(clip.samples for clip in clips) == len(speech)


def test_teacher_frames_lie_where_the_index_says(tiny_config):
    folder, clips, index = clips_of(tiny_config, 1.0)
    frames = np.fromfile(folder / "frames.f16", "<f2").reshape(-1, index["features"])
    embeddings = np.load(folder / "embeddings.npy")
    teacher = OnnxTeacher(Path(tiny_config.teacher.path))
    speech = np.fromfile(folder / "speech.i16", "<i2")
    clip = clips[3]
    pcm = (speech[clip.start : clip.start + clip.samples] / 32767).astype(np.float32)
    embedding, heard = teacher(pcm)
    held = frames[clip.frame_start : clip.frame_start + clip.frames]
    assert np.abs(held - heard).mean() < 2e-2
    assert np.abs(embeddings[3] - embedding).max() < 1e-2
    assert abs(clip.frames - clip.samples / 320) < 3


def test_another_speed_is_another_voice_of_another_length(tiny_config):
    _, plain, _ = clips_of(tiny_config, 1.0)
    _, slow, _ = clips_of(tiny_config, 0.9)
    assert {clip.speaker for clip in plain}.isdisjoint({clip.speaker for clip in slow})
    for before, after in zip(plain, slow, strict=True):
        assert after.samples == pytest.approx(before.samples / 0.9, rel=0.01)


def test_a_complete_speed_is_not_made_again_and_a_torn_one_is(tiny_config, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(tiny_config.data.cache, cache)
    teacher = OnnxTeacher(Path(tiny_config.teacher.path))
    whole = Voice(speed=1.0).folder(cache) / "index.json"
    torn = Voice(speed=0.9).folder(cache)
    (torn / "index.json").unlink()
    (torn / "speech.i16").write_bytes(b"half")
    before = whole.stat().st_mtime_ns
    prepare(Path(tiny_config.data.clips), teacher, cache, tiny_config.data.speeds)
    assert whole.stat().st_mtime_ns == before
    original = Voice(speed=0.9).folder(Path(tiny_config.data.cache))
    assert (torn / "speech.i16").read_bytes() == (original / "speech.i16").read_bytes()


def test_corpora_may_be_named_from_here_and_from_the_root(run_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips = read_clips(Path(run_config.data.clips))
    for name, clip in zip(("one", "two"), clips, strict=False):
        (tmp_path / name / "id1" / "video").mkdir(parents=True)
        shutil.copy(clip.path, tmp_path / name / "id1" / "video" / "00001.wav")
    corpora = {"voxceleb1": "one", "voxceleb2": str(tmp_path / "two")}
    data = dataclasses.replace(run_config.data, corpora=corpora, cache="mixed", speeds=(1.0,))
    config = dataclasses.replace(run_config, data=data)
    prepare_stage(config)
    _, cached, _ = clips_of(config, 1.0)
    assert [clip.path for clip in cached] == [f"{n}/id1/video/00001.wav" for n in ("one", "two")]


def test_filterbanks_have_no_mean_over_the_clip():
    pcm = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    banks = kaldi_filterbanks(pcm)
    assert banks.shape == (98, 80)
    assert np.abs(banks.mean(axis=0)).max() < 1e-4


@pytest.mark.parametrize(
    ("table", "word"),
    [("path\tsource\n", "speaker"), (None, "no manifest")],
)
def test_a_bad_manifest_says_what_is_missing(tmp_path, table, word):
    path = tmp_path / "train.tsv"
    if table is not None:
        path.write_text(table)
    with pytest.raises(ConfigError, match=word):
        read_clips(path)


def test_a_missing_file_is_named_with_its_line(tmp_path):
    (tmp_path / "noise.tsv").write_text("path\tkind\nnowhere.wav\tnoise\n")
    with pytest.raises(ConfigError, match=r"line 2.*nowhere\.wav"):
        read_sounds(tmp_path / "noise.tsv")


def test_a_model_that_is_no_teacher_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no teacher"):
        OnnxTeacher(tmp_path / "missing.onnx")


@pytest.mark.parametrize(
    ("row", "word"),
    [("x.wav\tbooks\ta\t1\t16k", r"line 2.*16k"), ("x.wav\tbooks\ta", r"line 2.*session")],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, row, word):
    (tmp_path / "x.wav").write_bytes(b"")
    table = tmp_path / "train.tsv"
    table.write_text(f"path\tsource\tspeaker\tsession\tsample_rate_origin\n{row}\n")
    with pytest.raises(ConfigError, match=word):
        read_clips(table)


def test_a_recording_that_is_none_is_named(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"x\.wav"):
        load_speech(tmp_path / "x.wav", GateConfig())


@pytest.fixture
def own_cache(tiny_config, tmp_path):
    """A cache of one voice that knows what it was made of, with the configuration's parts."""
    data = dataclasses.replace(tiny_config.data, cache=str(tmp_path / "cache"), speeds=(1.0,))
    fill(data, tiny_config.teacher)
    return data, tiny_config.teacher


def fill(data, teacher):
    network = OnnxTeacher(Path(teacher.path))
    made_of = provenance_of(data, teacher)
    prepare(Path(data.clips), network, Path(data.cache), data.speeds, provenance=made_of)


def another_teacher(teacher, folder):
    """The same file but for a note in it."""
    folder.mkdir()
    model = onnx.load(teacher.path)
    model.doc_string = "another"
    path = folder / Path(teacher.path).name
    onnx.save(model, str(path))
    return TeacherConfig(str(path))


def test_another_teacher_does_not_pass_for_the_one_of_the_cache(own_cache, tmp_path):
    data, teacher = own_cache
    other = another_teacher(teacher, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"teacher\.onnx"):
        fill(data, other)
    with pytest.raises(ConfigError, match=r"data\.cache"):
        CropSource(data, 0, 0.5, teacher=other)
    layers = TeacherConfig(teacher.path, layers=(2,))
    with pytest.raises(ConfigError, match=r"teacher\.layers"):
        CropSource(data, 0, 0.5, teacher=layers)


def test_a_teacher_and_clips_that_have_moved_are_still_the_same(own_cache, tmp_path):
    data, _ = own_cache
    moved = tmp_path / "moved"
    shutil.copytree(Path(data.clips).parent, moved, ignore=shutil.ignore_patterns("cache", "runs"))
    there = dataclasses.replace(data, clips=str(moved / "train.tsv"))
    assert len(CropSource(there, 0, 0.5, teacher=TeacherConfig(str(moved / "teacher.onnx")))) == 6
    gone = dataclasses.replace(data, clips=str(tmp_path / "nowhere.tsv"))
    assert len(CropSource(gone, 0, 0.5, teacher=TeacherConfig("nowhere/teacher.onnx"))) == 6


def test_another_list_of_clips_is_not_what_the_cache_holds(own_cache, tmp_path):
    data, teacher = own_cache
    longer = Path(data.clips).with_name("longer.tsv")
    rows = Path(data.clips).read_text().splitlines()
    longer.write_text("\n".join([*rows, rows[-1]]) + "\n")
    with pytest.raises(ConfigError, match="another list of clips"):
        CropSource(dataclasses.replace(data, clips=str(longer)), 0, 0.5, teacher=teacher)


def test_a_cache_from_before_it_knew_what_it_was_made_of_is_accepted(own_cache, tmp_path):
    data, teacher = own_cache
    file = Voice(speed=1.0).folder(Path(data.cache)) / "index.json"
    index = json.loads(file.read_text())
    for key in ("teacher_file", "teacher_digest", "teacher_layers", "clips_digest"):
        del index[key]
    file.write_text(json.dumps(index))
    other = another_teacher(teacher, tmp_path / "other")
    assert len(CropSource(data, 0, 0.5, teacher=other)) == 6


def test_a_teacher_of_embeddings_only_fills_a_cache_without_frames(own_cache, tmp_path):
    data, teacher = own_cache
    model = onnx.load(teacher.path)
    del model.graph.output[1]
    onnx.save(model, str(tmp_path / "plain.onnx"))
    plain = TeacherConfig(str(tmp_path / "plain.onnx"))
    data = dataclasses.replace(data, cache=str(tmp_path / "plain"))
    fill(data, plain)
    source = CropSource(data, 0, 0.5, with_frames=False, teacher=plain)
    assert source.layers == ()
    batch, _ = source.draw(0, 4, 10)
    assert batch.frames.shape == (4, 0, 0)
    assert batch.targets.shape == (4, 16)
