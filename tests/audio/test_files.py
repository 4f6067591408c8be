"""Sound files of every kind come out as blocks, and what is none is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr

from streamsv.audio import AudioFile, AudioFormat, Decoder, read_blocks
from streamsv.errors import ConfigError, UnsupportedAudio

RATE = 48_000
SECONDS = np.arange(RATE) / RATE
TONE = (0.5 * np.sin(2 * np.pi * 300 * SECONDS)).astype(np.float32)


def write(path, pcm=TONE, rate=RATE, **options):
    soundfile.write(path, pcm, rate, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options", "likeness"),
    [
        ("a.wav", {"subtype": "PCM_16"}, 0.99999),
        ("float.wav", {"subtype": "FLOAT"}, 1),
        ("a.flac", {"subtype": "PCM_24"}, 0.99999),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}, 0.97),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.97),
        ("a.mp3", {"format": "MP3"}, 0.97),
    ],
)
def test_every_common_kind_of_file_can_be_read(clips, tmp_path, name, options, likeness):
    voice = clips.pcm("voice_a_call")[16_000:64_000]
    with AudioFile(write(tmp_path / name, voice, 16_000, **options)) as file:
        pcm = np.concatenate(list(file))
        assert (file.sample_rate, file.channels) == (16_000, 1)
        assert len(pcm) == file.frames == pytest.approx(48_000, abs=2400)
        assert file.seconds == pytest.approx(3, abs=0.15)
    inside = slice(2400, -4800)
    assert np.corrcoef(pcm[inside], voice[: len(pcm)][inside])[0, 1] > likeness - 1e-6


def test_blocks_are_as_long_as_asked_and_the_last_holds_the_rest(tmp_path):
    path = write(tmp_path / "a.wav")
    assert [len(block) for block in read_blocks(path, block_s=0.3)] == [14_400] * 3 + [4800]
    assert [len(block) for block in AudioFile(path)] == [4800] * 10


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([TONE, np.zeros_like(TONE)], axis=1)
    path = write(tmp_path / "a.wav", stereo, subtype="FLOAT")
    with AudioFile(path) as file:
        assert file.channels == 2
        assert file.format == AudioFormat("f32le", RATE, 1)
        assert np.array_equal(np.concatenate(list(file)), TONE / 2)


def test_bytes_of_the_blocks_decode_in_the_files_format(tmp_path):
    with AudioFile(write(tmp_path / "a.wav", subtype="FLOAT")) as file:
        decoder = Decoder(file.format)
        pcm = [decoder.decode(block.astype("<f4").tobytes()) for block in file]
    assert np.array_equal(np.concatenate(pcm), TONE)


def test_a_file_can_be_read_twice(tmp_path):
    with AudioFile(write(tmp_path / "a.wav")) as file:
        assert np.array_equal(np.concatenate(list(file)), np.concatenate(list(file)))


def without_length(path):
    """A FLAC as an encoder writes it into a pipe: no number of samples in its header."""
    data = bytearray(write(path).read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    return path


def test_a_length_that_the_header_does_not_say_is_not_known(tmp_path):
    with AudioFile(without_length(tmp_path / "piped.flac")) as file:
        assert (file.frames, file.seconds) == (None, None)
        assert len(np.concatenate(list(file))) == RATE
        assert len(np.concatenate(list(file))) == RATE


def test_a_recording_whose_header_was_never_completed_is_refused_with_what_repairs_it(tmp_path):
    path = write(tmp_path / "killed.wav")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(UnsupportedAudio, match=r"killed\.wav .*header is damaged.*ffmpeg -i"):
        AudioFile(path)


@pytest.mark.parametrize("rate", [96_000, 192_000])
def test_a_rate_above_48_khz_comes_out_at_48_khz_in_place(tmp_path, rate):
    high = (0.5 * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)).astype(np.float32)
    with AudioFile(write(tmp_path / "a.wav", high, rate, subtype="FLOAT")) as file:
        assert (file.sample_rate, file.frames, file.seconds) == (48_000, 48_000, 1.0)
        assert file.format.sample_rate == 48_000
        pcm = np.concatenate(list(file))
        again = np.concatenate(list(file))
    assert len(pcm) == RATE
    assert np.max(np.abs(pcm - TONE)[2400:-2400]) < 1e-3
    assert np.array_equal(pcm, again)


READ_IN_BLOCKS = """
import sys
import numpy as np
from streamsv.audio import AudioFile

with AudioFile(sys.argv[1], float(sys.argv[2])) as file:
    first, second = np.concatenate(list(file)), np.concatenate(list(file))
assert np.array_equal(first, second)
np.save(sys.argv[3], first)
"""


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3_in_small_blocks_is_the_same_as_in_one_and_silent(clips, tmp_path, rate):
    voice = soxr.resample(clips.pcm("voice_a_call")[: 12 * 16_000], 16_000, rate)
    path = write(tmp_path / "a.mp3", voice, rate, format="MP3")
    result = tmp_path / "read.npy"
    command = [sys.executable, "-c", READ_IN_BLOCKS, str(path), "0.02", str(result)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    in_blocks = np.load(result)
    (in_one,) = read_blocks(path, block_s=60)
    assert np.array_equal(in_blocks, in_one)
    oracle, _ = soundfile.read(path, dtype="float32")
    assert np.max(np.abs(in_blocks - oracle)) < 1e-6


def test_overshoot_of_a_float_file_is_clipped(tmp_path):
    path = write(tmp_path / "a.wav", 3 * TONE, subtype="FLOAT")
    assert np.max(np.abs(np.concatenate(list(read_blocks(path))))) == 1


@pytest.mark.parametrize(("sample", "sentence"), [(np.nan, "NaN"), (9000.0, "Scale samples")])
def test_samples_that_cannot_be_are_refused_with_the_files_name(tmp_path, sample, sentence):
    path = write(tmp_path / "bad.wav", np.array([0, sample], np.float32), subtype="FLOAT")
    with pytest.raises(UnsupportedAudio, match=rf"bad\.wav.*{sentence}"):
        list(read_blocks(path))


def make_missing(path):
    pass


def make_directory(path):
    path.mkdir()


def make_empty(path):
    path.touch()


def make_text(path):
    path.write_text("This is not sound.\n" * 50, encoding="utf-8")


def make_without_samples(path):
    write(path, np.zeros(0, np.float32))


def make_slow(path):
    write(path, rate=7999)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (make_missing, "There is no file"),
        (make_directory, "is a directory"),
        (make_empty, "is empty"),
        (make_text, "is not a sound file"),
        (make_without_samples, "holds no sound"),
        (make_slow, "at least 8000 Hz"),
    ],
)
def test_what_is_not_sound_is_refused_by_name(tmp_path, make, sentence):
    path = tmp_path / "mine.wav"
    make(path)
    for opening in (lambda: AudioFile(path), lambda: next(read_blocks(str(path)))):
        with pytest.raises(UnsupportedAudio, match=sentence) as caught:
            opening()
        assert "mine.wav" in caught.value.message


def test_a_headerless_file_is_refused_as_no_sound_file(tmp_path):
    path = tmp_path / "mine.raw"
    path.write_bytes(TONE.tobytes())
    with pytest.raises(UnsupportedAudio, match="is not a sound file"):
        AudioFile(path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file"
)
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = write(tmp_path / "mine.wav")
    path.chmod(0)
    with pytest.raises(UnsupportedAudio, match="permissions"):
        AudioFile(path)


def test_a_file_that_was_cut_off_gives_what_is_left_and_says_so(tmp_path):
    path = write(tmp_path / "cut.flac", np.random.default_rng(0).uniform(-1, 1, 48_000))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    blocks = []
    with pytest.raises(UnsupportedAudio, match=r"cut\.flac is damaged after 0\.\d s"):
        blocks.extend(read_blocks(path))
    assert 12_000 < sum(map(len, blocks)) < 36_000


def test_a_closed_file_says_so(tmp_path):
    with AudioFile(write(tmp_path / "a.wav")) as file:
        pass
    file.close()
    with pytest.raises(UnsupportedAudio, match="closed"):
        next(iter(file))


@pytest.mark.parametrize("block_s", [0, -1, float("nan")])
def test_a_block_without_length_is_refused(tmp_path, block_s):
    with pytest.raises(ConfigError, match="block_s"):
        AudioFile(write(tmp_path / "a.wav"), block_s)


def test_the_bundled_clips_can_be_read(clips):
    for name in ("voice_a_enroll", "voice_a_call", "voice_b_call", "voice_c_call"):
        with AudioFile(clips.path(name)) as file:
            assert len(np.concatenate(list(file))) == file.frames > 10 * file.sample_rate


def test_a_header_that_claims_an_absurd_rate_is_refused_at_once(tmp_path):
    path = tmp_path / "bomb.wav"
    soundfile.write(path, np.zeros((1000, 12), np.float32), 16_000, subtype="PCM_16")
    header = bytearray(path.read_bytes())
    header[24:28] = (2_147_483_647).to_bytes(4, "little")
    path.write_bytes(header)
    with pytest.raises(UnsupportedAudio, match="claims a sample rate"):
        AudioFile(path)


def test_a_block_is_never_larger_than_what_there_is_to_read(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.full(800, 0.5, np.float32), 8_000)
    with AudioFile(path, 1e9) as file:
        assert [len(block) for block in file] == [800]


def test_a_file_name_need_not_be_utf_8(tmp_path):
    plain = tmp_path / "plain.wav"
    soundfile.write(plain, np.full(800, 0.5, np.float32), 8_000)
    odd = os.path.join(os.fsencode(tmp_path), b"odd\xff.wav")  # noqa: PTH118
    os.rename(plain, odd)  # noqa: PTH104
    with AudioFile(os.fsdecode(odd)) as file:
        assert file.frames == 800
