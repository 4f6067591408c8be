from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import ConfigError
from training.augment import Augmenter
from training.config import AugmentConfig
from training.manifest import Sound
from training.telephony import fast_size

NOTHING = AugmentConfig(room=0, noise=0, babble=0, equalizer=0, telephone=0, clipping=0)


def speech(batch=4, samples=16_000):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, samples, generator=generator) * 0.1


def damaged(tiny_config, x, seed=0, **changes):
    augment = Augmenter(dataclasses.replace(NOTHING, **changes), Path(tiny_config.data.sounds))
    return augment(x, np.random.default_rng(seed))


def unit(x):
    return x / x.square().mean(dim=1, keepdim=True).sqrt()


def test_the_same_seed_damages_the_same_way(tiny_config):
    everything = {"room": 0.5, "noise": 0.5, "babble": 0.5, "equalizer": 0.5, "telephone": 0.5}
    x = speech()
    first = damaged(tiny_config, x, 5, **everything)
    assert torch.equal(first, damaged(tiny_config, x, 5, **everything))
    assert not torch.equal(first, damaged(tiny_config, x, 6, **everything))
    assert first.shape == x.shape
    assert first.abs().max() <= 1.0


def test_with_nothing_asked_for_only_the_level_changes(tiny_config):
    x = speech()
    before = x.clone()
    y = damaged(tiny_config, x)
    assert torch.equal(x, before)
    assert torch.allclose(unit(y), unit(x), atol=1e-3)


def test_babble_is_of_others(tiny_config):
    """One row speaks and the others are silent: where all babble, it hears nothing of itself."""
    x = torch.zeros(4, 16_000)
    x[2] = torch.sin(torch.arange(16_000) * 0.3) * 0.1
    config = dataclasses.replace(NOTHING, babble=1.0)
    augment = Augmenter(config, [])
    for seed in range(20):
        noisy = augment._with_noise(x, np.random.default_rng(seed))
        assert torch.equal(noisy[2], x[2])
    alone = augment._with_noise(x[2:3], np.random.default_rng(0))
    assert torch.equal(alone, x[2:3])


def test_noise_comes_at_the_ratio_asked_for(tiny_config):
    x = speech()
    y = damaged(tiny_config, x, noise=1.0, noise_snr_db=(10.0, 10.0))
    share = (unit(x) * unit(y)).mean(dim=1).square()
    snr_db = 10 * torch.log10(share / (1 - share))
    assert torch.allclose(snr_db, torch.full((4,), 10.0), atol=1.0)


@pytest.mark.parametrize("worse", [{}, {"clipping": 1.0}, {"packet_loss": 1.0}])
def test_a_telephone_keeps_its_band_only(tiny_config, worse):
    y = damaged(tiny_config, speech(), telephone=1.0, **worse) * torch.hann_window(16_000)
    power = torch.fft.rfft(y).abs().square().mean(dim=0)
    hertz = torch.arange(len(power)) * 16_000 / y.shape[1]
    inside = power[(hertz > 500) & (hertz < 3000)].mean()
    above = power[hertz > 4050].mean()
    assert above < inside * 1e-7


def test_a_room_rings_after_the_sound(tiny_config):
    x = torch.zeros(1, 16_000)
    x[0, :1000] = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    y = damaged(tiny_config, x, room=1.0)
    assert y[0, 1200:3000].abs().mean() > 10 * damaged(tiny_config, x)[0, 1200:3000].abs().mean()


def test_clipping_flattens_the_peaks(tiny_config):
    y = damaged(tiny_config, speech(), clipping=1.0)
    peak = y.abs().amax(dim=1, keepdim=True)
    assert ((y.abs() > 0.999 * peak).float().mean(dim=1) > 0.001).all()


@given(st.integers(1, 200_000))
def test_fast_sizes_are_smooth_and_near(least):
    size = fast_size(least)
    assert least <= size < 1.2 * least + 8
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1


@pytest.mark.parametrize("samples", [1280, 16_000, 48_640])
def test_any_length_stays_that_length(tiny_config, samples):
    assert damaged(tiny_config, speech(2, samples), room=1.0).shape == (2, samples)


@pytest.mark.parametrize("kind", ["noise", "room"])
def test_a_sound_that_cannot_be_read_is_named(tmp_path, kind):
    (tmp_path / "x.wav").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"x\.wav"):
        Augmenter(NOTHING, [Sound(tmp_path / "x.wav", kind)])
