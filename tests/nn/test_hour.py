"""An hour of one call through the bundled model: nothing drifts, nothing grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamsv
from streamsv.encoder import Encoder, State

BUNDLED = Path(streamsv.__file__).parent / "models" / "default.onnx"
MINUTE_HOPS = 750
HOUR_HOPS = 60 * MINUTE_HOPS
FRAMES_PER_HOP = {"front_end.logmel.count": 8}


def joined(*states: State) -> State:
    return {name: np.concatenate([state[name] for state in states]) for name in states[0]}


@pytest.mark.slow
def test_after_an_hour_of_speech_the_model_is_as_exact_as_in_the_first_minute(clips: Any) -> None:
    encoder = Encoder(BUNDLED)
    speech = clips.pcm("voice_a_call")
    hops = speech[: len(speech) // encoder.hop_samples * encoder.hop_samples]
    hops = hops.reshape(1, -1, encoder.hop_samples)
    fresh = encoder.initial_state()
    shapes = {name: array.shape for name, array in fresh.items()}

    state = fresh
    for hop in range(HOUR_HOPS - MINUTE_HOPS):
        embedding, state = encoder.step(hops[:, hop % hops.shape[1]], state)
        if hop % MINUTE_HOPS == 0:
            assert np.isfinite(embedding).all()
            assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)
            assert {name: array.shape for name, array in state.items()} == shapes
            assert all(np.isfinite(array).all() for array in state.values())
    after_59_minutes = embedding[0]

    together = joined(state, fresh, state)
    for hop in range(HOUR_HOPS - MINUTE_HOPS, HOUR_HOPS):
        pcm = hops[:, hop % hops.shape[1]]
        embedding, state = encoder.step(pcm, state)
        embeddings, together = encoder.step(np.repeat(pcm, 3, axis=0), together)
        np.testing.assert_allclose(embeddings[0], embedding[0], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(embeddings[2], embeddings[0])
    after_an_hour, after_a_minute = embeddings[0], embeddings[1]

    assert np.isfinite(after_an_hour).all()
    assert np.linalg.norm(after_an_hour) == pytest.approx(1.0, abs=1e-5)
    assert after_59_minutes @ after_an_hour > 0.99
    assert after_a_minute @ after_an_hour > 0.95
    for name, array in together.items():
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(array[2], array[0], err_msg=name)
        if name.endswith("count"):
            expected = fresh[name][0] + np.float32(FRAMES_PER_HOP.get(name, 4) * HOUR_HOPS)
            np.testing.assert_array_equal(array[0], expected, err_msg=name)
