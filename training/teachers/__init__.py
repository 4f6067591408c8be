"""Teachers: networks whose answers the student learns to give early and cheaply.

All of them say what they heard as one :class:`~training.teachers.heard.Heard`; which kind a path
holds is recognized by content (:func:`~training.teachers.choose.load_teacher`).
"""

from __future__ import annotations

from training.teachers.choose import load_teacher
from training.teachers.heard import Heard, Teacher
from training.teachers.onnx import OnnxTeacher, kaldi_filterbanks

__all__ = ["Heard", "OnnxTeacher", "Teacher", "kaldi_filterbanks", "load_teacher"]
