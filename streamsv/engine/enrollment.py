"""Making a voiceprint: one or several recordings of one voice, with feedback on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFormat
from streamsv.encoder import Encoder
from streamsv.engine.config import EngineConfig
from streamsv.engine.session import Session
from streamsv.engine.stream import Mark, QueuedHop, StretchEnd
from streamsv.errors import InconsistentEnrollment, NotEnoughSpeech, ProtocolError
from streamsv.events import (
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Event,
    Feedback,
    Refusal,
    SessionEnded,
)
from streamsv.voiceprints import Consent, Voiceprint

Floats = NDArray[np.float32]

_LEAST_VOICED_SHARE = 0.1
"""A stretch with less admitted speech than this share of it had no voice."""


def cohesion(embeddings: Floats) -> float | None:
    """The lowest cosine between one recording and the mean of the others; ``None`` for one.

    ``embeddings`` is (recordings, dimension), rows of unit length.
    """
    if len(embeddings) < 2:
        return None
    others = embeddings.sum(axis=0) - embeddings
    lengths = np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    return float(np.min(np.sum(embeddings * others, axis=1) / lengths))


class EnrollmentSession(Session):
    """Audio of one speaker, in one or more recordings, to one voiceprint.

    :meth:`next_recording` ends one recording and begins another; each is embedded alone, and at
    the end they must sound like one voice. ``finish`` gives ``enrollment_completed`` or
    ``enrollment_refused``; then :meth:`voiceprint` makes the voiceprint, or raises.

    With ``force`` every recording is taken and nothing is refused, as evaluation needs; whether
    it would have been is in :attr:`refusal`.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: EngineConfig,
        speaker: str,
        audio: AudioFormat,
        force: bool = False,
    ) -> None:
        super().__init__(
            encoder, config, audio, "enroll", (speaker,), config.enrollment.stretch_s
        )
        self._speaker = speaker
        self._force = force
        self._channels = {audio.channel}
        self._embedding: Floats | None = None
        self._recording = 0
        self._hops_before = 0
        self._hops = 0
        self._kept: list[tuple[Floats, float]] = []
        self._cohesion: float | None = None
        self.refusal: EnrollmentRefused | None = None

    @property
    def net_speech_s(self) -> float:
        """Net speech used so far, over all recordings."""
        return self._hops * self._encoder.hop_samples / SAMPLE_RATE

    def next_recording(self, audio: AudioFormat | None = None) -> list[Event]:
        """End this recording and begin another, in ``audio`` if its format is another."""
        self._check_open()
        audio = audio or self.audio
        self._channels.add(audio.channel)
        self._stream.next_recording(audio)
        return self._released()

    def push_recording(self, chunk: bytes, audio: AudioFormat | None = None) -> list[Event]:
        """A whole further recording at once: :meth:`next_recording`, then ``push``."""
        return [*self.next_recording(audio), *self._run(), *self.push(chunk)]

    def voiceprint(self, created_at: str, consent: Consent | None = None) -> Voiceprint:
        """The voiceprint, dated ``created_at`` (ISO 8601; the engine reads no clock).

        Raises ProtocolError before ``finish``, and NotEnoughSpeech or InconsistentEnrollment if
        the enrollment was refused.
        """
        if not self.is_ended:
            raise ProtocolError("The enrollment has not finished; call finish() first.")
        if self.refusal is not None and not (self._force and self._kept):
            if self.refusal.reason is Refusal.INCONSISTENT:
                raise InconsistentEnrollment(self.refusal.detail, self.refusal.cohesion)
            raise NotEnoughSpeech(self.refusal.detail, self.refusal.net_speech_s)
        total = np.sum([embedding * seconds for embedding, seconds in self._kept], axis=0)
        return Voiceprint(
            speaker=self._speaker,
            embedding=np.asarray(total / np.linalg.norm(total), np.float32),
            fingerprint=self._encoder.fingerprint,
            net_speech_s=sum(seconds for _, seconds in self._kept),
            recordings=len(self._kept),
            channel="telephone" if "telephone" in self._channels else "wideband",
            created_at=created_at,
            updated_at=created_at,
            consent=consent,
        )

    def _scored(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        self._embedding = embedding
        self._hops += 1
        return []

    def _passed(self, mark: Mark) -> list[Event]:
        if isinstance(mark, StretchEnd):
            return [self._progress(mark.position, self._feedback(mark))]
        return self._end_recording(mark.position)

    def _progress(self, position: int, feedback: Feedback) -> Event:
        wanted = self._config.enrollment.wanted_net_speech_s
        return EnrollmentProgress(
            position / SAMPLE_RATE,
            self._recording,
            self.net_speech_s,
            max(0.0, wanted - self.net_speech_s),
            feedback,
        )

    def _feedback(self, stretch: StretchEnd) -> Feedback:
        quality = self._config.quality
        stretch_samples = self._config.enrollment.stretch_s * SAMPLE_RATE
        if stretch.clipped_fraction > quality.max_clipped_fraction:
            return Feedback.CLIPPED
        if stretch.admitted_samples < _LEAST_VOICED_SHARE * stretch_samples:
            is_quiet = stretch.level_dbfs < quality.min_speech_dbfs
            return Feedback.TOO_QUIET if is_quiet else Feedback.NO_VOICE
        levels = stretch.levels
        if levels.speech_dbfs is not None and levels.speech_dbfs < quality.min_speech_dbfs:
            return Feedback.TOO_QUIET
        if levels.snr_db is not None and levels.snr_db < quality.min_snr_db:
            return Feedback.NOISY
        return Feedback.OK

    def _end_recording(self, position: int) -> list[Event]:
        hop_s = self._encoder.hop_samples / SAMPLE_RATE
        seconds = (self._hops - self._hops_before) * hop_s
        is_short = seconds < self._config.enrollment.min_recording_s
        events = [self._progress(position, Feedback.TOO_SHORT)] if is_short else []
        if self._embedding is not None and (self._force or not is_short):
            self._kept.append((self._embedding, seconds))
        self._embedding = None
        self._state = self._encoder.initial_state()
        self._hops_before = self._hops
        self._recording += 1
        return events

    def _ending(self) -> list[Event]:
        at_s = self._stream.at_s
        self._cohesion = cohesion(np.stack([e for e, _ in self._kept])) if self._kept else None
        self.refusal = self._refusal(at_s)
        kept_s = sum(seconds for _, seconds in self._kept)
        outcome: Event = self.refusal or EnrollmentCompleted(
            at_s, self._speaker, kept_s, len(self._kept), self._cohesion
        )
        return [outcome, SessionEnded(at_s, self.net_speech_s)]

    def _refusal(self, at_s: float) -> EnrollmentRefused | None:
        needs = self._config.enrollment
        kept_s = sum(seconds for _, seconds in self._kept)
        if kept_s < needs.min_net_speech_s:
            detail = (
                f"Only {kept_s:.1f} s of speech could be used; at least "
                f"{needs.min_net_speech_s:.0f} s are needed. Record more speech."
            )
            reason = Refusal.NOT_ENOUGH_SPEECH
        elif self._cohesion is not None and self._cohesion < needs.min_cohesion:
            detail = (
                f"The recordings do not sound like one voice (cohesion {self._cohesion:.2f}, at "
                f"least {needs.min_cohesion:.2f} is needed). Leave out the one that differs."
            )
            reason = Refusal.INCONSISTENT
        else:
            return None
        return EnrollmentRefused(at_s, self._speaker, reason, detail, kept_s, self._cohesion)
