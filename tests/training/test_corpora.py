from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from streamsv.errors import ConfigError
from training.augment import Augmenter
from training.config import AugmentConfig
from training.corpora import sounds_of, speech_of


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize("below", ["", "dev/aac/", "wav/"])
def test_voxceleb_is_read_by_speaker_and_video(tmp_path, below):
    touch(tmp_path, f"{below}id00012/21Uxsk56VDQ/00001.wav", f"{below}id00013/abc/00002.flac")
    first, second = speech_of({"voxceleb2": str(tmp_path)})
    assert (first.source, first.speaker, first.session) == ("voxceleb2", "id00012", "21Uxsk56VDQ")
    assert (second.speaker, second.sample_rate_origin) == ("id00013", 16_000)


def test_corpora_are_joined_in_order(tmp_path):
    touch(tmp_path / "one", "id1/v/1.wav")
    touch(tmp_path / "two", "id1/v/1.wav")
    corpora = {"voxceleb2": str(tmp_path / "two"), "voxceleb1": str(tmp_path / "one")}
    assert [clip.source for clip in speech_of(corpora)] == ["voxceleb2", "voxceleb1"]


def test_voxceleb2_as_it_is_downloaded_says_to_convert_it(tmp_path):
    touch(tmp_path, "dev/aac/id00012/21Uxsk56VDQ/00001.m4a")
    with pytest.raises(ConfigError, match=r"convert \.m4a"):
        speech_of({"voxceleb2": str(tmp_path)})


def test_voices_is_read_by_speaker_and_room(tmp_path):
    name = "Lab41-SRI-VOiCES-rm2-babb-sp0032-ch093178-sg0005-mc01-stu-clo-dg080.wav"
    touch(tmp_path, f"distant-16k/speech/train/rm2/babb/sp0032/{name}")
    (clip,) = speech_of({"voices": str(tmp_path)})
    assert (clip.source, clip.speaker, clip.session) == ("voices", "sp0032", "rm2")


def test_noises_are_sorted_by_what_they_are(tmp_path):
    touch(
        tmp_path,
        "musan/noise/free-sound/noise-free-sound-0000.wav",
        "musan/music/jamendo/music-jamendo-0000.wav",
        "musan/speech/librivox/speech-librivox-0000.wav",
        "rirs/RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav",
        "rirs/RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1.wav",
        "rirs/RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1.wav",
        "rirs/RIRS_NOISES/pointsource_noises/noise-free-sound-0001.wav",
    )
    sounds = sounds_of({"musan": str(tmp_path / "musan"), "rirs_noises": str(tmp_path / "rirs")})
    assert [sound.kind for sound in sounds] == ["noise", "music", "speech", "room", "room", "noise"]


@pytest.mark.parametrize("name", ["voxceleb1", "voices"])
def test_a_folder_that_is_something_else_says_what_was_looked_for(tmp_path, name):
    touch(tmp_path, "readme.txt")
    with pytest.raises(ConfigError, match="does not look like"):
        speech_of({name: str(tmp_path)})
    with pytest.raises(ConfigError, match="no folder"):
        speech_of({name: str(tmp_path / "nowhere")})


def test_a_corpus_that_nobody_knows_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match="voxceleb1"):
        speech_of({"voxceleb3": "x"})
    with pytest.raises(ConfigError, match="musan"):
        sounds_of({"musician": "x"})


def test_sounds_may_be_read_when_they_are_wanted(tmp_path):
    generator = np.random.default_rng(0)
    noise = np.tile(generator.normal(0, 0.1, 320), 200)
    for kind in ("noise", "music", "speech"):
        path = touch(tmp_path, f"{kind}/x/1.wav") / f"{kind}/x/1.wav"
        soundfile.write(path, noise, 16_000)
    sounds = sounds_of({"musan": str(tmp_path)})
    config = AugmentConfig(noise=1.0)
    x = torch.randn(3, 16_000) * 0.1
    lazy = Augmenter(config, sounds, preload=False)(x, np.random.default_rng(1))
    assert lazy.shape == x.shape
    assert not torch.equal(lazy, x)
