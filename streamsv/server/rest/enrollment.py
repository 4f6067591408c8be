"""From uploaded recordings to a voiceprint: decoded and enrolled beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from streamsv.audio import AudioFile
from streamsv.engine import Engine, EnrollmentSession
from streamsv.errors import CapacityError, StreamsvError, UnsupportedAudio
from streamsv.events import EnrollmentCompleted, EnrollmentProgress, Event
from streamsv.server.rest.uploads import Recording
from streamsv.voiceprints import Consent, Voiceprint

_BLOCK_S = 0.5
_RETRY_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Enrolled:
    """A voiceprint, or the error that refused it, and what was heard on the way."""

    voiceprint: Voiceprint | None
    refusal: StreamsvError | None
    cohesion: float | None
    feedback: tuple[dict[str, Any], ...]


class Places:
    """Lets a few uploads in, and one at a time into the engine, so that calls keep theirs."""

    def __init__(self) -> None:
        self._taken = 0
        self._turn: asyncio.Lock | None = None

    @property
    def are_taken(self) -> bool:
        """Whether an upload is on its way."""
        return self._taken > 0

    @contextlib.contextmanager
    def one_of(self, most: int) -> Iterator[None]:
        """A place for as long as the block lasts. Raises CapacityError if there is none."""
        if self._taken >= most:
            raise CapacityError(
                f"{most} enrollments are being taken in. Try again in {_RETRY_S:g} s.", _RETRY_S
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(
        self,
        engine: Engine,
        speaker: str,
        recordings: Sequence[Recording],
        most_s: float,
        consent: Consent | None,
    ) -> Enrolled:
        """:func:`enroll` in a thread, when it is its turn."""
        self._turn = self._turn or asyncio.Lock()
        async with self._turn:
            return await asyncio.to_thread(enroll, engine, speaker, recordings, most_s, consent)


def enroll(
    engine: Engine,
    speaker: str,
    recordings: Sequence[Recording],
    most_s: float,
    consent: Consent | None,
) -> Enrolled:
    """Make a voiceprint of ``recordings``, at most ``most_s`` seconds of sound in all.

    Raises UnsupportedAudio, which names the recording.
    """
    session: EnrollmentSession | None = None
    events: list[Event] = []
    heard_s = 0.0
    for recording in recordings:
        with _opened(recording) as file:
            if session is None:
                session = engine.enroll(speaker, file.format)
            else:
                events += session.push_recording(b"", file.format)
            for block in file:
                heard_s += len(block) / file.sample_rate
                if heard_s > most_s:
                    raise UnsupportedAudio(
                        f"There is more than {most_s:g} s of sound. Send less; a minute is plenty.",
                        recording.name,
                    )
                events += session.push(block.astype("<f4").tobytes())
    if session is None:
        raise UnsupportedAudio("There is no recording. Send one.")
    events += session.finish()
    feedback = tuple(e.to_dict() for e in events if isinstance(e, EnrollmentProgress))
    if session.refusal is not None:
        try:
            session.voiceprint(_now())
        except StreamsvError as refusal:
            return Enrolled(None, refusal, session.refusal.cohesion, feedback)
    completed = next((e for e in events if isinstance(e, EnrollmentCompleted)), None)
    cohesion = None if completed is None else completed.cohesion
    return Enrolled(session.voiceprint(_now(), consent), None, cohesion, feedback)


@contextlib.contextmanager
def _opened(recording: Recording) -> Iterator[AudioFile]:
    """The sound of an uploaded file. What is wrong is said of its name, not of our path."""
    with _path_of(recording.file) as path:
        try:
            with AudioFile(path, _BLOCK_S) as file:
                yield file
        except UnsupportedAudio as error:
            sentence = error.message.replace(str(path), recording.name)
            value = recording.name if error.value == str(path) else error.value
            raise UnsupportedAudio(sentence, value) from error


@contextlib.contextmanager
def _path_of(file: IO[bytes]) -> Iterator[Path]:
    """A path at which the content of ``file`` can be opened: Linux has one for each descriptor."""
    roll = getattr(file, "rollover", None)
    if roll is not None:
        roll()
    file.flush()
    by_descriptor = Path(f"/proc/self/fd/{file.fileno()}")
    if by_descriptor.exists():
        yield by_descriptor
        return
    with tempfile.TemporaryDirectory(prefix="streamsv-") as directory:
        path = Path(directory) / "recording"
        file.seek(0)
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        yield path


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
