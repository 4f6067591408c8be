"""A tiny set made of the bundled clips: three people, cut into enrollments and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from streamsv.engine import Engine, EngineConfig
from streamsv.engine.config import GuardConfig
from streamsv.evaluation.sets import STREAM_COLUMNS, TRIAL_COLUMNS, EvaluationSet, load_set


class Voices(Protocol):
    def pcm(self, name: str) -> NDArray[np.float32]: ...


Cut = tuple[str, str, float, float]
"""Stream, clip, first and last second; the stream's letter is its speaker."""

CUTS: Sequence[Cut] = [
    ("a1", "voice_a_enroll", 0.0, 3.0),
    ("a2", "voice_a_enroll", 3.0, 6.0),
    ("b1", "voice_b_call", 0.0, 5.0),
    ("c1", "voice_c_call", 0.0, 8.0),
    ("at", "voice_a_call", 0.0, 5.0),
    ("bt", "voice_b_call", 5.0, 7.0),
    ("ct", "voice_c_call", 8.0, 14.0),
]
TRIALS: Sequence[tuple[str, str]] = [
    (enroll, test) for enroll in ("a1,a2", "b1", "c1") for test in ("at", "bt", "ct")
]

SEX = {"a": "f", "b": "f"}
"""Of the speakers of whom it is told; made up."""

MakeSet = Callable[..., EvaluationSet]


@pytest.fixture(scope="session")
def make_set(clips: Voices) -> MakeSet:
    """Writes a set; ``silence`` are streams that are replaced by silence of their length."""

    def make(
        folder: Path,
        cuts: Sequence[Cut] = CUTS,
        trials: Sequence[tuple[str, str]] = TRIALS,
        silence: Sequence[str] = (),
        rate: int = 16_000,
    ) -> EvaluationSet:
        folder.mkdir(parents=True)
        streams = ["\t".join(STREAM_COLUMNS)]
        for name, clip, begin_s, end_s in cuts:
            pcm = clips.pcm(clip)[round(begin_s * 16_000) : round(end_s * 16_000)]
            if name in silence:
                pcm = np.zeros_like(pcm)
            soundfile.write(folder / f"{name}.wav", pcm[:: 16_000 // rate], rate)
            channel = "telephone" if rate == 8_000 else "wideband"
            sex = SEX.get(name[0], "")
            row = [name, f"{name}.wav", name[0], "s", str(rate), str(end_s - begin_s), sex, channel]
            streams.append("\t".join(row))
        rows = [f"{e}\t{t}\t{int(e[0] == t[0])}" for e, t in trials]
        (folder / "streams.tsv").write_text("\n".join(streams) + "\n", encoding="utf-8")
        (folder / "trials.tsv").write_text(
            "\n".join(["\t".join(TRIAL_COLUMNS), *rows]) + "\n", encoding="utf-8"
        )
        return load_set(folder)

    return make


@pytest.fixture(scope="session")
def engine() -> Engine:
    """As evaluation has it: nothing is taken for background."""
    return Engine.load(EngineConfig(guard=GuardConfig(below_loudest_db=None)))


@pytest.fixture(scope="session")
def tiny_set(make_set: MakeSet, tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    return make_set(tmp_path_factory.mktemp("sets") / "tiny")
