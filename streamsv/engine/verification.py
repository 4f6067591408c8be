"""Is this the voice that was enrolled? One stream against one or many voiceprints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import AudioFormat
from streamsv.encoder import Encoder
from streamsv.engine.config import EngineConfig
from streamsv.engine.quality import QualityWatch
from streamsv.engine.session import Session
from streamsv.engine.stream import QueuedHop
from streamsv.errors import ConfigError, ModelMismatch, UnknownSpeaker
from streamsv.events import (
    DecisionMade,
    Event,
    Reason,
    Score,
    ScoreUpdated,
    SessionEnded,
    Verdict,
)
from streamsv.scoring.calibration import Calibration
from streamsv.scoring.policy import ThresholdPolicy
from streamsv.scoring.similarity import Directions
from streamsv.voiceprints import Voiceprint

Floats = NDArray[np.float32]


class VerificationSession(Session):
    """One stream against voiceprints; see :class:`~streamsv.engine.session.Session` for its calls.

    In ``verify`` mode each claimed voiceprint gets a decision of its own. In ``identify`` mode
    there is one decision among all of them, and "nobody" (speaker ``None``, verdict ``reject``)
    is an answer. A decision is made once; scores go on after it.
    """

    def __init__(
        self,
        encoder: Encoder,
        calibration: Calibration,
        config: EngineConfig,
        voiceprints: Sequence[Voiceprint],
        audio: AudioFormat,
        mode: str = "verify",
    ) -> None:
        if mode not in ("verify", "identify"):
            raise ConfigError(f"mode is {mode!r}; allowed are verify and identify.", mode)
        voiceprints = list(voiceprints)
        if not voiceprints:
            raise UnknownSpeaker("There is no voiceprint to compare with; enroll somebody first.")
        for voiceprint in voiceprints:
            voiceprint.check_fingerprint(encoder.fingerprint)
            if voiceprint.dimension != encoder.dimension:
                raise ModelMismatch(
                    f"The voiceprint of {voiceprint.speaker!r} has {voiceprint.dimension} numbers; "
                    f"the model's embeddings have {encoder.dimension}. Delete it and enroll "
                    f"{voiceprint.speaker!r} again.",
                    voiceprint.dimension,
                )
        speakers = tuple(voiceprint.speaker for voiceprint in voiceprints)
        if len(set(speakers)) < len(speakers):
            raise ConfigError("The same speaker is claimed twice.", ", ".join(speakers))
        calibration.llr(0.0, 1.0, audio.channel)  # no calibration: say so now, not in mid-call
        super().__init__(encoder, config, audio, mode, speakers)
        self._mode = mode
        self._speakers = speakers
        self._directions = Directions(np.stack([vp.embedding for vp in voiceprints]))
        self._calibration = calibration
        channels = [calibration.channel_of_trial(vp.channel, audio.channel) for vp in voiceprints]
        self._rows_of_channel = {
            channel: np.flatnonzero([each == channel for each in channels])
            for channel in dict.fromkeys(channels)
        }
        self._quality = QualityWatch(config.quality)
        self._policy = ThresholdPolicy(config.decision, len(speakers) if mode == "identify" else 1)
        self._verdicts: dict[str | None, Verdict] = {}
        self._hops_scored = 0
        self._latest: tuple[Score, ...] = ()

    @property
    def verdicts(self) -> dict[str | None, Verdict]:
        """The decisions made so far, by speaker (``None``: nobody)."""
        return dict(self._verdicts)

    def _scored(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        self._hops_scored += 1
        self._latest = self._scores(embedding, hop.net_speech_s)
        events: list[Event] = [*self._quality.look(hop.levels, hop.at_s)]
        if self._hops_scored % self._config.update_every_hops:
            return events
        snr_db, channel = hop.levels.snr_db, self.audio.channel
        events.append(ScoreUpdated(hop.at_s, hop.net_speech_s, self._latest, snr_db, channel))
        return [*events, *self._decisions(hop.at_s, hop.net_speech_s)]

    def _scores(self, embedding: Floats, net_speech_s: float) -> tuple[Score, ...]:
        """The scores to show: all that are claimed, or the best candidates, best first."""
        cosines = self._directions.cosine(embedding)
        llrs = np.empty(len(cosines))
        for channel, rows in self._rows_of_channel.items():
            llrs[rows] = self._calibration.llr(cosines[rows], net_speech_s, channel)
        shown = np.arange(len(llrs))
        if self._mode == "identify":
            shown = np.argsort(-llrs, kind="stable")[: self._config.candidates_shown]
        return tuple(
            Score(self._speakers[i], float(cosines[i]), None, float(llrs[i])) for i in shown
        )

    def _decisions(self, at_s: float, net_speech_s: float) -> list[Event]:
        """A look at the latest scores: the decisions that they are enough for."""
        events: list[Event] = []
        for speaker, score in self._waiting():
            found = self._policy.look(score.llr, net_speech_s) if score else None
            if found is not None:
                events.append(self._decide(speaker, score, *found, at_s, net_speech_s))
        return events

    def _waiting(self) -> list[tuple[str | None, Score | None]]:
        """Who still wants a decision, with the latest score if there is one."""
        if self._mode == "identify":
            best = self._latest[0] if self._latest else None
            return [] if self._verdicts else [(None, best)]
        latest = {score.speaker: score for score in self._latest}
        return [(who, latest.get(who)) for who in self._speakers if who not in self._verdicts]

    def _decide(
        self,
        speaker: str | None,
        score: Score | None,
        verdict: Verdict,
        reason: Reason,
        at_s: float,
        net_speech_s: float,
    ) -> DecisionMade:
        if score is not None and verdict is Verdict.ACCEPT:
            speaker = score.speaker
        self._verdicts[speaker] = verdict
        promised = self._policy.promised_error_rate
        return DecisionMade(at_s, speaker, verdict, reason, promised, net_speech_s, score)

    def _ending(self) -> list[Event]:
        at_s, net_speech_s = self._stream.at_s, self._stream.net_speech_s
        events = self._decisions(at_s, net_speech_s)
        verdict, reason = self._policy.at_end(net_speech_s)
        for speaker, score in self._waiting():
            events.append(self._decide(speaker, score, verdict, reason, at_s, net_speech_s))
        return [*events, SessionEnded(at_s, net_speech_s)]
