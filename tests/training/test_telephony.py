from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from training.augment import Augmenter
from training.config import AugmentConfig
from training.telephony import automatic_gain, g711, lose_packets, round_trip

CLIPS = Path(__file__).resolve().parents[2] / "streamsv" / "clips"
NOTHING = AugmentConfig(room=0, noise=0, babble=0, equalizer=0, telephone=0, clipping=0)


@pytest.fixture(scope="module")
def speech():
    pcm, rate = soundfile.read(CLIPS / "voice_a_call.opus", dtype="float32")
    return torch.from_numpy(soxr.resample(pcm, rate, 16_000)[:48_000].astype(np.float32))


@pytest.mark.parametrize(("codec", "least"), [("gsm", 0.95), ("adpcm", 0.99)])
def test_a_codec_keeps_the_line_in_its_time_and_nothing_above_it(speech, codec, least):
    heard = round_trip(speech, codec)
    line = soxr.resample(soxr.resample(speech.numpy(), 16_000, 8000), 8000, 16_000)
    assert heard.shape == speech.shape
    assert np.corrcoef(line[:48_000], heard.numpy())[0, 1] > least
    power = np.abs(np.fft.rfft(heard.numpy())) ** 2
    assert power[int(len(power) * 0.55) :].sum() < 1e-3 * power.sum()
    assert np.abs(heard.numpy() - line[:48_000]).max() > 1e-3


@pytest.mark.parametrize("samples", [16_000, 15_999, 48_640])
def test_g711_keeps_the_line_in_its_time_with_the_noise_of_8_bits(samples):
    hertz = np.array([300.0, 1000.0, 2500.0])[:, None] * np.arange(samples) / 16_000
    x = torch.from_numpy(0.1 * np.sin(2 * np.pi * hertz)).float().repeat(4, 1)
    y = g711(x, np.random.default_rng(0))
    assert y.shape == x.shape
    inner = slice(200, samples - 200)  # a tone that ends is no tone
    noise = (y - x)[:, inner].square().mean(dim=1)
    snr_db = 10 * torch.log10(x[:, inner].square().mean(dim=1) / noise)
    assert (snr_db > 35.0).all()
    assert (snr_db < 45.0).all()


def test_g711_speaks_both_of_its_laws():
    quiet = torch.full((64, 1600), 1e-4)
    found = {round(float(row[800]), 6) for row in g711(quiet, np.random.default_rng(0))}
    assert len(found) == 2


def test_gain_control_levels_what_was_quiet(speech):
    quiet = torch.cat([speech[:24_000], 0.1 * speech[:24_000]])[None]
    level = automatic_gain(quiet, np.random.default_rng(0))
    before = quiet[0, 36_000:].square().mean() / quiet[0, 12_000:24_000].square().mean()
    after = level[0, 36_000:].square().mean() / level[0, 12_000:24_000].square().mean()
    assert after > 5 * before
    assert level.shape == quiet.shape


def test_gain_control_does_not_know_the_level_it_is_given(speech):
    x = torch.stack([speech, 0.2 * speech])
    level = automatic_gain(x, np.random.default_rng(0))
    assert torch.allclose(level[0] * 0.2, level[1], atol=1e-4)


def test_lost_packets_are_whole_and_repeat_the_one_before_more_softly(speech):
    x = speech + 0.01
    y = lose_packets(x, np.random.default_rng(3))
    packets, kept = y.reshape(-1, 320), x.reshape(-1, 320)
    lost = [i for i in range(len(kept)) if not torch.equal(packets[i], kept[i])]
    assert 0 < len(lost) < 0.4 * len(kept)
    for i in lost:
        assert torch.allclose(packets[i], 0.5 * packets[i - 1])
    assert torch.equal(speech + 0.01, x)


def test_a_call_is_damaged_alike_by_the_same_seed(tiny_config, speech):
    config = dataclasses.replace(NOTHING, gain_control=0.5, packet_loss=0.5, gsm=0.5, adpcm=0.5)
    augment = Augmenter(config, Path(tiny_config.data.sounds))
    x = speech[None].repeat(4, 1)
    first = augment(x, np.random.default_rng(5))
    assert torch.equal(first, augment(x, np.random.default_rng(5)))
    assert not torch.equal(first, augment(x, np.random.default_rng(6)))
    assert torch.isfinite(first).all()


def test_what_is_not_asked_for_draws_nothing(tiny_config, speech):
    """Recipes from before these kinds of damage keep their very batches."""
    generator, same = np.random.default_rng(5), np.random.default_rng(5)
    augment = Augmenter(NOTHING, Path(tiny_config.data.sounds))
    augment._on_the_line(speech[None].clone(), generator)
    assert generator.random() == same.random()
