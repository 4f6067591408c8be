"""Making a voiceprint: one or several recordings of one voice, with feedback on the way."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFormat, Chunk
from streamsv.encoder import Encoder
from streamsv.engine.config import EngineConfig
from streamsv.engine.session import Session
from streamsv.engine.stream import Mark, QueuedHop, RecordingEnd, StretchEnd
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
from streamsv.voiceprints import Consent, Voiceprint, check_speaker

Floats = NDArray[np.float32]

_LEAST_VOICED_SHARE = 0.1
"""A stretch with less admitted speech than this share of it had no voice."""

_LEAST_SWING_DB = 2.0
"""A stretch whose level moves less had no voice either. Tones, hum and hiss pass the gate but move
by less than 1 dB; speech moves by 3 dB even when noise is only 3 dB below it, and by 15 without."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recording of an enrollment, embedded alone: ``embedding`` (dimension,).

    ``voiced_s`` is its net speech without the stretches in which nothing was heard to be a voice.
    """

    embedding: Floats = dataclasses.field(repr=False)
    net_speech_s: float
    voiced_s: float
    channel: str


def cohesion(embeddings: Floats) -> float | None:
    """The lowest cosine between one recording and the mean of the others; ``None`` for one.

    ``embeddings`` is (recordings, dimension), rows of unit length.
    """
    if len(embeddings) < 2:
        return None
    others = embeddings.sum(axis=0) - embeddings
    lengths = np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    return float(np.clip(np.min(np.sum(embeddings * others, axis=1) / lengths), -1.0, 1.0))


def _has_voice(stretch: StretchEnd) -> bool:
    is_admitted = stretch.admitted_fraction >= _LEAST_VOICED_SHARE
    return is_admitted and stretch.swing_db >= _LEAST_SWING_DB


class EnrollmentSession(Session):
    """Audio of one speaker, in one or more recordings, to one voiceprint.

    :meth:`next_recording` ends one recording and begins another; each is embedded alone, and at
    the end they must sound like one voice. ``finish`` gives ``enrollment_completed`` or
    ``enrollment_refused``; then :meth:`voiceprint` makes the voiceprint, or raises.

    With ``force`` every recording with a hop of speech is taken and nothing is refused but an
    enrollment without any, as evaluation needs; what it would have been refused for is in
    :attr:`refusal`.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: EngineConfig,
        speaker: str,
        audio: AudioFormat,
        force: bool = False,
    ) -> None:
        check_speaker(speaker)
        super().__init__(encoder, config, audio, "enroll", (speaker,), config.enrollment.stretch_s)
        self._speaker = speaker
        self._force = force
        self._embedding: Floats | None = None
        self._recording = 0
        self._hops = 0
        self._hops_before = 0
        self._hops_judged = 0
        self._voiced_hops = 0
        self._voiced_s = 0.0
        self._taken: list[Recording] = []
        self.refusal: EnrollmentRefused | None = None

    @property
    def net_speech_s(self) -> float:
        """Net speech used so far, over all recordings."""
        return self._seconds(self._hops)

    def next_recording(self, audio: AudioFormat | None = None) -> list[Event]:
        """End this recording and begin another, in ``audio`` if its format is another."""
        self._check_open()
        self._stream.next_recording(audio or self.audio)
        return self._released()

    def push_recording(self, chunk: Chunk, audio: AudioFormat | None = None) -> list[Event]:
        """A whole further recording at once: :meth:`next_recording`, then ``push``."""
        self._check_nothing_in_flight()
        return [*self.next_recording(audio), *self._run(), *self.push(chunk)]

    def voiceprint(self, created_at: str, consent: Consent | None = None) -> Voiceprint:
        """The voiceprint, dated ``created_at`` (ISO 8601; the engine reads no clock).

        Raises ProtocolError before ``finish``, and NotEnoughSpeech or InconsistentEnrollment if
        the enrollment was refused.
        """
        if not self.is_ended:
            raise ProtocolError("The enrollment has not finished; call finish() first.")
        if self.refusal is not None and not (self._force and self._taken):
            if self.refusal.reason is Refusal.INCONSISTENT:
                raise InconsistentEnrollment(self.refusal.detail, self.refusal.cohesion)
            raise NotEnoughSpeech(self.refusal.detail, self.refusal.net_speech_s)
        taken = self._taken
        total = np.sum([each.embedding * each.net_speech_s for each in taken], axis=0)
        return Voiceprint(
            speaker=self._speaker,
            embedding=np.asarray(total / np.linalg.norm(total), np.float32),
            fingerprint=self._encoder.fingerprint,
            net_speech_s=sum(each.net_speech_s for each in taken),
            recordings=len(taken),
            channel="telephone" if any(r.channel == "telephone" for r in taken) else "wideband",
            created_at=created_at,
            updated_at=created_at,
            consent=consent,
        )

    def _scored(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        self._embedding = embedding
        self._hops = hop.number + 1
        return []

    def _passed(self, mark: Mark) -> list[Event]:
        if isinstance(mark, RecordingEnd):
            return self._end_recording(mark)
        self._judge_hops(_has_voice(mark))
        return [self._progress(mark.position, self._feedback(mark))]

    def _progress(self, position: int, feedback: Feedback) -> Event:
        voiced_s = self._voiced_s + self._seconds(self._voiced_hops)
        remaining_s = max(0.0, self._config.enrollment.wanted_net_speech_s - voiced_s)
        at_s = position / SAMPLE_RATE
        return EnrollmentProgress(at_s, self._recording, self.net_speech_s, remaining_s, feedback)

    def _feedback(self, stretch: StretchEnd) -> Feedback:
        quality = self._config.quality
        if stretch.clipped_fraction > quality.max_clipped_fraction:
            return Feedback.CLIPPED
        if not _has_voice(stretch):
            is_quiet = stretch.level_dbfs < quality.min_speech_dbfs
            return Feedback.TOO_QUIET if is_quiet else Feedback.NO_VOICE
        levels = stretch.levels
        if levels.speech_dbfs is not None and levels.speech_dbfs < quality.min_speech_dbfs:
            return Feedback.TOO_QUIET
        if levels.snr_db is not None and levels.snr_db < quality.min_snr_db:
            return Feedback.NOISY
        return Feedback.OK

    def _judge_hops(self, is_voice: bool) -> None:
        if is_voice:
            self._voiced_hops += self._hops - self._hops_judged
        self._hops_judged = self._hops

    def _seconds(self, hops: int) -> float:
        return hops * self._encoder.hop_samples / SAMPLE_RATE

    def _end_recording(self, end: RecordingEnd) -> list[Event]:
        self._judge_hops(is_voice=True)
        voiced_s = self._seconds(self._voiced_hops)
        is_short = voiced_s < self._config.enrollment.min_recording_s
        if self._embedding is not None and (self._force or not is_short):
            net_speech_s = self._seconds(self._hops - self._hops_before)
            recording = Recording(self._embedding, net_speech_s, voiced_s, end.channel)
            self._taken.append(recording)
        self._voiced_s += 0.0 if is_short else voiced_s
        self._voiced_hops = 0
        events = [self._progress(end.position, Feedback.TOO_SHORT)] if is_short else []
        self._embedding = None
        self._state = self._encoder.initial_state()
        self._hops_before = self._hops
        self._recording += 1
        return events

    def _ending(self) -> list[Event]:
        at_s, taken = self._stream.at_s, self._taken
        least_s = self._config.enrollment.min_recording_s
        usable = [each.embedding for each in taken if each.voiced_s >= least_s]
        together = cohesion(np.stack(usable)) if usable else None
        self.refusal = self._refusal(at_s, together)
        outcome: Event
        if self.refusal is not None and not (self._force and taken):
            outcome = self.refusal
        else:
            net_speech_s = sum(each.net_speech_s for each in taken)
            outcome = EnrollmentCompleted(at_s, self._speaker, net_speech_s, len(taken), together)
        return [outcome, SessionEnded(at_s, self.net_speech_s)]

    def _refusal(self, at_s: float, together: float | None) -> EnrollmentRefused | None:
        needs = self._config.enrollment
        if self._voiced_s < needs.min_net_speech_s:
            detail = (
                f"Only {self._voiced_s:.1f} s of speech could be used; at least "
                f"{needs.min_net_speech_s:g} s are needed. Record more speech."
            )
            reason = Refusal.NOT_ENOUGH_SPEECH
        elif together is not None and together < needs.min_cohesion:
            detail = (
                f"The recordings do not sound like one voice (cohesion {together:.2f}, at "
                f"least {needs.min_cohesion:.2f} is needed). Leave out the one that differs."
            )
            reason = Refusal.INCONSISTENT
        else:
            return None
        return EnrollmentRefused(at_s, self._speaker, reason, detail, self._voiced_s, together)
