"""What a cache was made of, so that it is not taken for another teacher's or another table's."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamsv.errors import ConfigError
from training.config import DataConfig, TeacherConfig
from training.corpora import speech_of
from training.manifest import Clip, read_clips

_WEIGHTS = ("config.json", "model.safetensors", "pytorch_model.bin")


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Who heard what: kept in a cache's index, and compared before the cache is used.

    ``teacher`` is the last part of ``teacher.path`` and ``teacher_digest`` of its content, empty
    where there is no file to read; ``clips_digest`` of the list of clips, empty where the list is
    not at hand. Folders do not count: a cache may be moved.
    """

    teacher: str
    teacher_digest: str
    teacher_layers: tuple[int, ...]
    clips_digest: str

    def to_index(self) -> dict[str, Any]:
        """The keys of ``index.json``."""
        return {
            "teacher_file": self.teacher,
            "teacher_digest": self.teacher_digest,
            "teacher_layers": list(self.teacher_layers),
            "clips_digest": self.clips_digest,
        }

    def check(self, folder: Path, index: Mapping[str, Any]) -> None:
        """Raise ConfigError unless the cache in ``folder`` was made of the same.

        What one of both does not know is taken for the same; the indexes of older caches know
        nothing.
        """
        if not self.teacher:  # nobody's answers are wanted: any will do
            return self._check_clips(folder, index)
        digest = index.get("teacher_digest", "")
        if digest and self.teacher_digest:
            is_same = digest == self.teacher_digest
        else:
            is_same = index.get("teacher_file", self.teacher) == self.teacher
        if not is_same:
            self._refuse(folder, f"the teacher {index.get('teacher_file')}", self.teacher)
        layers = tuple(index.get("teacher_layers", self.teacher_layers))
        if layers != self.teacher_layers:
            self._refuse(folder, f"teacher.layers {list(layers)}", list(self.teacher_layers))
        return self._check_clips(folder, index)

    def _check_clips(self, folder: Path, index: Mapping[str, Any]) -> None:
        clips = index.get("clips_digest", "")
        if clips and self.clips_digest and clips != self.clips_digest:
            self._refuse(folder, "another list of clips", "the present one")

    def _refuse(self, folder: Path, was: str, wanted: object) -> None:
        raise ConfigError(
            f"{folder} was made with {was}, and the configuration asks for {wanted}. Set "
            "data.cache to another folder, or remove this one, and run `python -m training prepare "
            "CONFIG`.",
            str(folder),
        )


def provenance_of(data: DataConfig, teacher: TeacherConfig) -> Provenance:
    """What a cache of this configuration is made of; no sound is read."""
    clips: list[Clip] = []
    if data.corpora:
        if all(Path(root).is_dir() for root in data.corpora.values()):
            clips = speech_of(data.corpora)
    elif Path(data.clips).is_file():
        clips = read_clips(Path(data.clips), must_exist=False)
    return Provenance(
        Path(teacher.path).name,
        _digest_of_teacher(Path(teacher.path)),
        teacher.layers,
        digest_of_clips(clips) if clips else "",
    )


def digest_of_clips(clips: Sequence[Clip]) -> str:
    """Of the names, voices and channels of clips, in order; not of the folder they share."""
    root = os.path.commonpath([clip.path.absolute().parent for clip in clips])
    rows = [
        "\t".join(
            (
                os.path.relpath(clip.path.absolute(), root),
                clip.source,
                clip.speaker,
                str(clip.sample_rate_origin <= 8000),
            )
        )
        for clip in clips
    ]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _digest_of_teacher(path: Path) -> str:
    """Of a file, or of a folder's configuration and weights; empty where there is neither."""
    files = [path] if path.is_file() else [path / name for name in _WEIGHTS]
    found = [file for file in files if file.is_file()]
    whole = hashlib.sha256()
    for file in found:
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest() if found else ""
