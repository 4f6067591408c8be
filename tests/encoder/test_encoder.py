from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import streamsv
from streamsv.encoder import Encoder, State
from streamsv.errors import ModelLoadError

BUNDLED = Path(streamsv.__file__).parent / "models" / "default.onnx"

Floats = NDArray[np.float32]
Change = Callable[[dict[str, str]], None]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(BUNDLED)


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[Change], Path]:
    """Writes the bundled model with its metadata changed."""

    def write(change: Change) -> Path:
        model = onnx.load(BUNDLED)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        change(metadata)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, metadata)
        path = tmp_path / "altered.onnx"
        onnx.save(model, path)
        return path

    return write


def noise(encoder: Encoder, batch: int, hops: int, seed: int = 0) -> Floats:
    """(hops, batch, hop_samples)."""
    samples = np.random.default_rng(seed).normal(0, 0.1, (hops, batch, encoder.hop_samples))
    return samples.astype(np.float32)


def stepped(encoder: Encoder, pcm: Floats, state: State | None = None) -> tuple[Floats, State]:
    """The last embeddings and state, of one hop or more."""
    state = encoder.initial_state(pcm.shape[1]) if state is None else state
    for hop in pcm:
        embedding, state = encoder.step(hop, state)
    return embedding, state


def rows(state: State, row: int) -> State:
    return {name: array[row : row + 1] for name, array in state.items()}


def test_streams_at_different_phases_step_together_as_alone(encoder: Encoder) -> None:
    streams = [stepped(encoder, noise(encoder, 1, age, age))[1] for age in (1, 3, 8)]
    streams.append(encoder.initial_state())
    pcm = noise(encoder, len(streams), 1)
    joined = {name: np.concatenate([state[name] for state in streams]) for name in streams[0]}
    together, following = encoder.step(pcm[0], joined)
    for row, state in enumerate(streams):
        alone, next_alone = encoder.step(pcm[0, row : row + 1], state)
        np.testing.assert_allclose(together[row], alone[0], rtol=0, atol=1e-6)
        for name, array in rows(following, row).items():
            np.testing.assert_allclose(array, next_alone[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_broken_stream_does_no_harm_to_its_neighbors(encoder: Encoder) -> None:
    pcm = noise(encoder, 2, 3)
    expected, _ = stepped(encoder, pcm)
    pcm[1, 0] = np.nan
    given, state = stepped(encoder, pcm)
    np.testing.assert_array_equal(given[1], expected[1])
    assert all(np.isfinite(array[1]).all() for array in state.values())


def test_step_leaves_what_it_was_given_untouched(encoder: Encoder) -> None:
    _, state = stepped(encoder, noise(encoder, 2, 2))
    pcm = noise(encoder, 2, 1, seed=1)[0]
    before = {name: array.copy() for name, array in state.items()}
    pcm_before = pcm.copy()
    embedding, following = encoder.step(pcm, state)
    np.testing.assert_array_equal(pcm, pcm_before)
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
        array[:] = 7.0
    again, following_again = encoder.step(pcm, before)
    np.testing.assert_array_equal(again, embedding)
    for name, array in following.items():
        np.testing.assert_array_equal(array, following_again[name], err_msg=name)


def test_read_only_audio_and_rows_of_a_larger_array_are_taken(encoder: Encoder) -> None:
    longer = np.zeros((2, encoder.hop_samples + 5), np.float32)
    longer[:, 5:] = noise(encoder, 2, 1)[0]
    longer.flags.writeable = False
    given, _ = encoder.step(longer[:, 5:], encoder.initial_state(2))
    expected, _ = encoder.step(longer[:, 5:].copy(), encoder.initial_state(2))
    np.testing.assert_array_equal(given, expected)


def test_initial_states_share_nothing(encoder: Encoder) -> None:
    untouched = {name: array.copy() for name, array in encoder.initial_state(3).items()}
    first = encoder.initial_state(3)
    for array in first.values():
        array[0] += 5.0
    for name, array in encoder.initial_state(3).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, untouched[name])
        np.testing.assert_array_equal(first[name][1:], untouched[name][1:])


def test_a_state_saved_and_loaded_goes_on_as_if_it_had_stayed(
    encoder: Encoder, tmp_path: Path
) -> None:
    _, state = stepped(encoder, noise(encoder, 2, 4))
    written: dict[str, Any] = dict(state)
    np.savez(tmp_path / "state.npz", **written)
    with np.load(tmp_path / "state.npz") as arrays:
        restored = {name: arrays[name] for name in arrays.files}
    pcm = noise(encoder, 2, 3, seed=1)
    expected, _ = stepped(encoder, pcm, state)
    given, _ = stepped(encoder, pcm, restored)
    np.testing.assert_array_equal(given, expected)


def test_two_threads_at_once_get_what_each_gets_alone(encoder: Encoder) -> None:
    calls = [noise(encoder, 1, 60, seed) for seed in range(2)]
    alone = [stepped(encoder, pcm)[0] for pcm in calls]
    together: dict[int, Floats] = {}
    both_ready = threading.Barrier(2)

    def run(index: int) -> None:
        both_ready.wait()
        together[index] = stepped(encoder, calls[index])[0]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, expected in enumerate(alone):
        np.testing.assert_array_equal(together[index], expected)


def test_stepping_loads_no_torch() -> None:
    program = """
import json, sys
from pathlib import Path
import numpy as np
from streamsv.encoder import Encoder
encoder = Encoder(Path(sys.argv[1]))
pcm = np.zeros((1, encoder.hop_samples), np.float32)
embedding, _ = encoder.step(pcm, encoder.initial_state())
loaded = {"torch", "onnx", "streamsv.nn"} & set(sys.modules)
print(json.dumps([list(embedding.shape), sorted(loaded)]))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program, str(BUNDLED)], check=True, capture_output=True, text=True
    )
    shape, loaded = json.loads(finished.stdout)
    assert shape == [1, 192]
    assert loaded == []


def test_importing_the_room_loads_no_onnxruntime() -> None:
    program = "import sys, streamsv.encoder; sys.exit('onnxruntime' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "program",
    [
        "import streamsv; streamsv.Engine.load()",
        "import training.quantization as q; q.onnxruntime.InferenceSession(sys.argv[1])",
    ],
)
def test_onnxruntime_reports_nothing_and_leaves_nothing(tmp_path: Path, program: str) -> None:
    heard = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}  # each would keep it quiet
    environ = {name: value for name, value in os.environ.items() if name not in heard}
    environ |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", f"import sys; {program}", str(BUNDLED)], check=True, env=environ
    )
    assert [str(path) for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no model at .*absent\.onnx") as raised:
        Encoder(tmp_path / "absent.onnx")
    assert raised.value.value == str(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 40])
def test_bytes_that_are_no_model_are_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"broken\.onnx"):
        Encoder(path)


def test_half_a_model_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    content = BUNDLED.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelLoadError, match=r"half\.onnx"):
        Encoder(path)


def test_another_projects_network_is_an_error_that_says_so(
    altered: Callable[[Change], Path],
) -> None:
    with pytest.raises(ModelLoadError, match="not a streamsv model"):
        Encoder(altered(dict.clear))


@pytest.mark.parametrize(
    "key",
    ["fingerprint", "license", "hop_samples", "sample_rate", "config", "card", "initial_state"],
)
def test_a_missing_entry_of_the_metadata_is_an_error(
    altered: Callable[[Change], Path], key: str
) -> None:
    with pytest.raises(ModelLoadError, match=key):
        Encoder(altered(lambda metadata: metadata.__delitem__(f"streamsv.{key}")))


@pytest.mark.parametrize("text", ["{", '{"x": 1}', '{"x": {"shape": [2], "float32": "AAAA"}}'])
def test_initial_states_that_cannot_be_read_are_an_error(
    altered: Callable[[Change], Path], text: str
) -> None:
    with pytest.raises(ModelLoadError, match="not a streamsv model"):
        Encoder(altered(lambda metadata: metadata.update({"streamsv.initial_state": text})))


def test_a_state_that_the_graph_lacks_is_an_error(altered: Callable[[Change], Path]) -> None:
    def add_one(metadata: dict[str, str]) -> None:
        states = json.loads(metadata["streamsv.initial_state"])
        states["ghost"] = {"shape": [1], "float32": "AAAAAA=="}
        metadata["streamsv.initial_state"] = json.dumps(states)

    with pytest.raises(ModelLoadError, match="other states"):
        Encoder(altered(add_one))


def test_another_format_version_is_an_error_that_says_what_to_do(
    altered: Callable[[Change], Path],
) -> None:
    with pytest.raises(ModelLoadError, match=r"format 3.*Upgrade") as raised:
        Encoder(altered(lambda metadata: metadata.update({"streamsv.format": "3"})))
    assert raised.value.value == "3"


def test_a_state_that_rolls_by_no_piece_of_itself_is_a_damaged_model(
    altered: Callable[[Change], Path],
) -> None:
    for rolling in ('{"blocks.0.tokens.left": 3}', '{"blocks.0.tokens.left": 0}', '{"x": 1}', "7"):

        def change(metadata: dict[str, str], rolling: str = rolling) -> None:
            metadata["streamsv.rolling"] = rolling

        with pytest.raises(ModelLoadError, match="not a streamsv model"):
            Encoder(altered(change))
