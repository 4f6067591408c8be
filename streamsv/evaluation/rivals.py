"""Other encoders, to be measured on the very samples that ours hears.

A rival does not stream: it is given everything heard so far and makes one embedding of it, anew at
each point where it is asked. So it needs no state, and pays for the whole prefix every time.

- ``resemblyzer``: the GE2E network of Resemblyzer (Wan et al. 2018), weights in its wheel.
- ``PATH.onnx``: any encoder over Kaldi log-mel filterbanks, such as CAM++ of 3D-Speaker.

What rivals are made of is in no extra of this package and is imported when it is asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE
from streamsv.errors import ConfigError, ModelLoadError, NotEnoughSpeech

Floats = NDArray[np.float32]

MEL_BANDS = 80
FRAME_SAMPLES = SAMPLE_RATE * 25 // 1000
"""Samples of the first 25 ms frame: below that there is no filterbank."""

INSTALL_RESEMBLYZER = (
    "pip install --no-deps resemblyzer && pip install torch librosa scipy webrtcvad-wheels"
)
"""Without dependencies, because it asks for ``webrtcvad``, which has no wheels and does not build
on a current Python; ``webrtcvad-wheels``, which is here already, brings the same module."""


class Rival(Protocol):
    """An encoder of whole stretches of speech.

    Attributes
    ----------
    name:
        A short one for tables, such as ``resemblyzer`` or the stem of the file.
    version:
        What tells this one from others of its name: a release, or a SHA-256.
    """

    @property
    def name(self) -> str:
        """Short, for tables."""

    @property
    def version(self) -> str:
        """A release, or the SHA-256 of the file."""

    def embed(self, pcm: Floats) -> Floats:
        """One embedding of everything in ``pcm``.

        ``pcm``: float32, shape (samples,), 16 kHz, in [-1, 1], speech only. Returns float32 of
        shape (d,), of unit length. Raises `NotEnoughSpeech` for less than a frame and for
        silence.
        """


def load_rival(name_or_path: str, threads: int = 1) -> Rival:
    """``resemblyzer``, or the encoder in an ``.onnx`` file; ``threads`` compute one embedding.

    Raises `ConfigError` for a name that is neither, and `ModelLoadError` when the package is not
    installed (the sentence has the command) or the file is no encoder over filterbanks.
    """
    if name_or_path == "resemblyzer":
        return Resemblyzer(threads)
    if name_or_path.endswith(".onnx"):
        return FilterbankEncoder(Path(name_or_path), threads)
    raise ConfigError(
        f"There is no rival {name_or_path!r}; use resemblyzer, or the path of an encoder that "
        "ends in .onnx.",
        name_or_path,
    )


class Resemblyzer:
    """Resemblyzer as its own ``preprocess_wav`` would feed it, but for the gate, which is ours."""

    name = "resemblyzer"

    def __init__(self, threads: int = 1) -> None:
        self._audio = _imported("resemblyzer.audio", INSTALL_RESEMBLYZER)
        network = _imported("resemblyzer.voice_encoder", INSTALL_RESEMBLYZER)
        network.torch.set_num_threads(threads)
        self.version = importlib.metadata.version("resemblyzer")
        self._encoder = network.VoiceEncoder("cpu", verbose=False)
        self._level_dbfs = _imported(
            "resemblyzer.hparams", INSTALL_RESEMBLYZER
        ).audio_norm_target_dBFS

    def embed(self, pcm: Floats) -> Floats:
        """See `Rival.embed`; the level is raised to what the network was trained at."""
        _check_samples(pcm)
        loud = self._audio.normalize_volume(pcm, self._level_dbfs, increase_only=True)
        return _unit(self._encoder.embed_utterance(loud))


class FilterbankEncoder:
    """An ONNX network from Kaldi filterbanks, float32 (batch, frames, 80), to one embedding each.

    The filterbanks are log-mel energies of the samples as they are, in [-1, 1], every 10 ms over
    25 ms, without dither, less their mean over the whole stretch. The embedding is the output of
    that name, or the first one of two dimensions.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._kaldi = _imported("kaldi_native_fbank", "pip install kaldi-native-fbank")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not path.is_file():
            raise ModelLoadError(f"There is no rival at {path}; give the path of a file.", path)
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no public base
            raise ModelLoadError(
                f"The rival {path} cannot be loaded as an ONNX model: {error}", path
            ) from error
        self._check_inputs(path)
        self._output = self._embedding_output(path)
        self.name = path.stem
        with path.open("rb") as file:
            self.version = f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"

    def embed(self, pcm: Floats) -> Floats:
        """See `Rival.embed`."""
        _check_samples(pcm)
        feeds = {self._input: self._filterbanks(pcm)[None]}
        (embedding,) = self._session.run([self._output], feeds)
        return _unit(np.asarray(embedding, dtype=np.float32).reshape(-1))

    def _filterbanks(self, pcm: Floats) -> Floats:
        options = self._kaldi.FbankOptions()
        options.frame_opts.dither = 0
        options.frame_opts.samp_freq = SAMPLE_RATE
        options.mel_opts.num_bins = MEL_BANDS
        banks = self._kaldi.OnlineFbank(options)
        banks.accept_waveform(SAMPLE_RATE, pcm.tolist())
        banks.input_finished()
        frames = np.stack([banks.get_frame(i) for i in range(banks.num_frames_ready)])
        return np.asarray(frames - frames.mean(axis=0), dtype=np.float32)

    def _check_inputs(self, path: Path) -> None:
        inputs = self._session.get_inputs()
        names = [each.name for each in inputs]
        if "streamsv.format" in self._session.get_modelmeta().custom_metadata_map or (
            "pcm" in names and any(name.startswith("state.") for name in names)
        ):
            raise ModelLoadError(
                f"The rival {path} is a model of streamsv, which streams. Evaluate it by itself, "
                "named as model in the file of --config.",
                path,
            )
        if len(inputs) != 1 or not _takes_bands(inputs[0]):
            found = ", ".join(f"{each.name} {each.shape} {each.type}" for each in inputs)
            _refuse(path, f"one input (batch, frames, {MEL_BANDS}) of float32", found)
        self._input = names[0]

    def _embedding_output(self, path: Path) -> str:
        outputs = self._session.get_outputs()
        flat = [each.name for each in outputs if len(each.shape) == 2]
        if not flat:
            found = ", ".join(f"{each.name} {each.shape}" for each in outputs)
            _refuse(path, "an output (batch, dimension)", found)
        return "embedding" if "embedding" in flat else str(flat[0])


def _takes_bands(value: Any) -> bool:
    """Whether a graph's input takes a batch of one, any number of frames, and all bands."""
    if value.type != "tensor(float)" or len(value.shape) != 3:
        return False
    batch, frames, bands = value.shape  # a size that may vary is a name or None
    takes_one = batch == 1 or not isinstance(batch, int)
    return takes_one and not isinstance(frames, int) and bands == MEL_BANDS


def _refuse(path: Path, expected: str, found: str) -> NoReturn:
    raise ModelLoadError(
        f"The rival {path} is not an encoder over filterbanks: expected {expected}; it has "
        f"{found}.",
        path,
    )


def _imported(module: str, command: str) -> ModuleType:
    package = module.partition(".")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a rival imports is not ours to mend
            return importlib.import_module(module)
    except ImportError as error:
        raise ModelLoadError(
            f"{package} cannot be imported ({error}). Install what this rival needs: {command}",
            package,
        ) from error


def _check_samples(pcm: Floats) -> None:
    if len(pcm) < FRAME_SAMPLES:
        raise NotEnoughSpeech(
            f"{len(pcm)} samples are less than one frame; a rival needs at least {FRAME_SAMPLES}.",
            len(pcm),
        )
    if not pcm.any():
        raise NotEnoughSpeech("These samples are all zero; give the rival speech.", len(pcm))


def _unit(embedding: NDArray[Any]) -> Floats:
    length = float(np.linalg.norm(embedding))
    if not 0 < length < np.inf:
        raise NotEnoughSpeech("The rival makes no embedding of these samples; give it speech.")
    return np.asarray(embedding / length, dtype=np.float32)
