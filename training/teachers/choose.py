"""Which teacher a path holds, recognized by content."""

from __future__ import annotations

from pathlib import Path

import torch

from streamsv.errors import ConfigError, ModelLoadError
from training.checkpoint import is_checkpoint
from training.config import TeacherConfig
from training.teachers.heard import Teacher
from training.teachers.onnx import OnnxTeacher, is_onnx
from training.teachers.student import StudentTeacher

_PIPELINE = "torchaudio:"


def load_teacher(
    config: TeacherConfig, threads: int = 1, device: torch.device | None = None
) -> Teacher:
    """The teacher at ``config.path``.

    A WavLM of torchaudio's pipelines (``torchaudio:WAVLM_LARGE``), of a folder in Hugging Face's
    format or of a file in Microsoft's; a checkpoint of this project's training; otherwise an ONNX
    speaker encoder.
    """
    device = device or torch.device("cpu")
    path = Path(config.path)
    if not config.path:
        raise ConfigError("teacher.path is empty, and a teacher is wanted: name one.", None)
    if not config.path.startswith(_PIPELINE) and not path.exists():
        raise ConfigError(
            f"There is no teacher at {path}. Set teacher.path to an ONNX speaker encoder, a WavLM "
            "checkpoint, or torchaudio:WAVLM_LARGE.",
            str(path),
        )
    if path.is_file() and is_checkpoint(path):
        return StudentTeacher(path, device)
    from training.teachers.wavlm import WavLMTeacher
    from training.teachers.wavlm_format import is_hugging_face, is_microsoft

    if config.path.startswith(_PIPELINE):
        name = config.path.removeprefix(_PIPELINE)
        return WavLMTeacher.from_pipeline(name, config.layers).to(device)
    if is_hugging_face(path) or is_microsoft(path):
        return WavLMTeacher.from_checkpoint(path, config.layers).to(device)
    if path.suffix == ".onnx" or is_onnx(path):
        return OnnxTeacher(path, threads)
    raise ModelLoadError(
        f"{path} is no teacher: neither ONNX, nor WavLM in Microsoft's or Hugging Face's format, "
        "nor a checkpoint of this project.",
        str(path),
    )
