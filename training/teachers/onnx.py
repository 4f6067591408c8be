"""An ONNX speaker encoder that takes Kaldi filterbanks."""

from __future__ import annotations

from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import onnx
import onnxruntime as ort
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from torch import Tensor

from streamsv.errors import ConfigError
from training.teachers.heard import Heard

Floats = NDArray[np.float32]


def is_onnx(path: Path) -> bool:
    """Whether a file holds an ONNX graph, whatever its name."""
    if not path.is_file():
        return False
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return False
    return bool(model.ir_version and model.graph.node)


def kaldi_filterbanks(pcm: Floats) -> Floats:
    """80 Kaldi log-mel filterbanks, 25 ms / 10 ms, no dither, mean over the clip removed.

    ``pcm`` float32 (samples,), 16 kHz, in [-1, 1]; returns (frames, 80) float32.
    """
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = 16_000
    options.mel_opts.num_bins = 80
    banks = knf.OnlineFbank(options)
    banks.accept_waveform(16_000, pcm.tolist())
    banks.input_finished()
    frames = np.stack([banks.get_frame(i) for i in range(banks.num_frames_ready)])
    return np.asarray(frames - frames.mean(axis=0), dtype=np.float32)


class OnnxTeacher:
    """Any ONNX speaker encoder that takes Kaldi filterbanks, such as CAM++.

    Input ``feats`` (batch, frames, 80); outputs ``embedding`` (batch, dimension) and, for
    frame-level targets, ``frames`` (batch, about frames / 2, features), 50 a second. Without
    ``frames`` it is a teacher of embeddings only.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise ConfigError(
                f"There is no teacher at {path}. Set teacher.path to an ONNX speaker encoder.",
                str(path),
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.name = path.stem
        self._session = ort.InferenceSession(str(path), options)
        inputs = [put.name for put in self._session.get_inputs()]
        outputs = [output.name for output in self._session.get_outputs()]
        for kind, name, names in (("input", "feats", inputs), ("output", "embedding", outputs)):
            if name not in names:
                raise ConfigError(
                    f"The teacher {path} has no {kind} {name!r}; it has {', '.join(names)}. See "
                    "training/README.md, the teacher.",
                    name,
                )
        self._outputs = ["embedding"] + ["frames"] * ("frames" in outputs)

    def __call__(self, pcm: Floats) -> tuple[Floats, Floats]:
        """``pcm`` float32 (samples,) -> embedding (dimension,), frames (frames, features).

        The frames of a teacher of embeddings only are (0, 0).
        """
        answers = self._session.run(self._outputs, {"feats": kaldi_filterbanks(pcm)[None]})
        embedding, *frames = [np.asarray(answer[0], np.float32) for answer in answers]
        return embedding, frames[0] if frames else np.zeros((0, 0), np.float32)

    def hear(self, pcm: Tensor) -> Heard:
        """(batch, samples) -> the embeddings, and the one layer that the file gives, if any."""
        answers = [self(clip.detach().cpu().numpy()) for clip in pcm]
        embedding = torch.from_numpy(np.stack([answer[0] for answer in answers]))
        if "frames" not in self._outputs:
            return Heard(embedding.to(pcm.device), ())
        frames = torch.from_numpy(np.stack([answer[1] for answer in answers]))
        return Heard(embedding.to(pcm.device), (frames.to(pcm.device),))
