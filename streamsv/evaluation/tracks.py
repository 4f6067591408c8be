"""What the network makes of a recording, hop by hop: the material of everything that is fitted.

A track goes through the gate, the resampler and the network as a call does, once; whatever is
then asked of it (any trial, any cut of the enrollment, any rule) is a few products of matrices.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamsv.audio import SAMPLE_RATE
from streamsv.encoder import Encoder
from streamsv.encoder.batching import Batcher
from streamsv.engine.config import EngineConfig
from streamsv.engine.hearing import HearingSession
from streamsv.errors import ConfigError
from streamsv.evaluation.streaming import played

Floats = npt.NDArray[np.float32]

TracksProgress = Callable[[int, int, str], None]

_TOGETHER = 24
"""Recordings that are stepped together."""

_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One recording, or several joined, as the network heard it.

    Fields
    ------
    embeddings: float32, shape (hops, dimension), unit length: of everything up to each hop.
    snr_db: float32, shape (hops,); NaN while it is not known.
    channel: ``wideband`` or ``telephone``.
    hop_s: seconds of net speech in a hop.
    """

    embeddings: Floats
    snr_db: Floats
    channel: str
    hop_s: float

    @property
    def hops(self) -> int:
        """How many hops of speech it has."""
        return len(self.embeddings)

    @property
    def net_speech_s(self) -> float:
        """Net speech in all, in seconds."""
        return self.hops * self.hop_s

    def hop_at(self, net_speech_s: float) -> int | None:
        """The first hop, from 0, with at least so much net speech; None if there is none."""
        hop = max(0, int(np.ceil(net_speech_s / self.hop_s - 1e-6)) - 1)
        return hop if hop < self.hops else None


@dataclass(frozen=True, slots=True)
class Recording:
    """What a track is made of: files of one format, heard one after the other as one call.

    ``channel`` "telephone" sends them through 8 kHz mu-law first. ``at_most_s`` is the net speech
    after which nobody listens any more.
    """

    paths: tuple[Path, ...]
    channel: str | None = None
    at_most_s: float = 60.0


class TrackReader:
    """Hears recordings with one encoder, many at a time.

    ``cache`` is a folder in which tracks are kept, by model, gate and the bytes of the files;
    None keeps none.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: EngineConfig | None = None,
        cache: Path | None = None,
        progress: TracksProgress | None = None,
    ) -> None:
        self.encoder = encoder
        self._config = config or EngineConfig()
        self._cache = cache
        self._progress = progress

    def read(self, recordings: Sequence[Recording]) -> Mapping[Recording, Track]:
        """The track of each recording; one without speech has no hops.

        Raises `UnsupportedAudio` for a file that cannot be read, and `ConfigError` for a cache
        that cannot be written.
        """
        self._check_cache()
        found: dict[Recording, Track] = {}
        missing: list[Recording] = []
        for recording in dict.fromkeys(recordings):
            kept = self._kept(recording)
            if kept is None:
                missing.append(recording)
            else:
                found[recording] = kept
        batcher = Batcher(self.encoder, _TOGETHER)
        waiting = list(reversed(missing))
        listening: list[_Listening] = []
        while waiting or listening:
            while waiting and len(listening) < _TOGETHER:
                listening.append(_Listening(self.encoder, self._config, waiting.pop()))
            still: list[_Listening] = []
            for one in listening:
                if one.is_fed():
                    still.append(one)
                    continue
                track = found[one.recording] = one.track()
                self._keep(one.recording, track)
                if self._progress:
                    name = one.recording.paths[0].name
                    self._progress(len(found), len(found) + len(waiting) + len(listening), name)
            listening = still
            batcher.step([one.session for one in listening])
        return {recording: found[recording] for recording in recordings}

    def _place(self, recording: Recording) -> Path:
        content = hashlib.sha256()
        for path in recording.paths:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        setting = [
            *(_VERSION, self.encoder.fingerprint, asdict(self._config.gate)),
            *(recording.channel, recording.at_most_s),
        ]
        content.update(json.dumps(setting).encode())
        return (self._cache or Path()) / f"{content.hexdigest()[:32]}.npz"

    def _kept(self, recording: Recording) -> Track | None:
        """What the cache holds; None for nothing, and for what cannot be read."""
        if self._cache is None:
            return None
        try:
            with np.load(self._place(recording)) as kept:
                return Track(
                    kept["embeddings"], kept["snr_db"], str(kept["channel"]), float(kept["hop_s"])
                )
        except Exception:  # noqa: BLE001 - zip, zlib and numpy errors share no base; heard again
            return None

    def _keep(self, recording: Recording, track: Track) -> None:
        if self._cache is None:
            return
        place = self._place(recording)
        # Under its name only when it is whole: whoever stops the fit here finds no half a track.
        unfinished = place.with_suffix(f".{os.getpid()}.part")
        try:
            with unfinished.open("wb") as file:
                np.savez(
                    file,
                    embeddings=track.embeddings,
                    snr_db=track.snr_db,
                    channel=track.channel,
                    hop_s=track.hop_s,
                )
            unfinished.replace(place)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise self._no_cache(error) from error

    def _check_cache(self) -> None:
        """Find out before anything is heard, not after it."""
        if self._cache is None:
            return
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._cache):
                pass
        except OSError as error:
            raise self._no_cache(error) from error

    def _no_cache(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"Nothing can be kept in {self._cache}: {error.strerror}. Give a folder that can be "
            "written, or no cache.",
            str(self._cache),
        )


class _Listening:
    """A recording on its way into a session, block by block."""

    def __init__(self, encoder: Encoder, config: EngineConfig, recording: Recording) -> None:
        self.recording = recording
        self._blocks = played(recording.paths, recording.channel)
        audio, first = next(self._blocks)
        self.session = HearingSession(encoder, config, audio)
        self.session.feed(first)
        self._encoder = encoder
        self._at_most = max(1, round(recording.at_most_s * SAMPLE_RATE / encoder.hop_samples))

    def track(self) -> Track:
        """What was heard so far."""
        session, encoder = self.session, self._encoder
        embeddings = np.array(session.embeddings, np.float32).reshape(-1, encoder.dimension)
        snr_db, hop_s = np.array(session.snr_db, np.float32), encoder.hop_samples / SAMPLE_RATE
        return Track(embeddings, snr_db, session.audio.channel, hop_s)

    def is_fed(self) -> bool:
        """Feed until a hop is due; False once there is nothing more to hear."""
        if len(self.session.embeddings) >= self._at_most:
            self._blocks.close()
            return False
        while not self.session.is_ended:
            hop = self.session.next_hop()
            if hop is not None:
                self.session.abandon(hop)
                return True
            following = next(self._blocks, None)
            if following is None:
                self.session.close_input()
            else:
                self.session.feed(following[1])
        return False
