"""Is this the voice that was enrolled? One stream against one or many voiceprints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFormat
from streamsv.audio.level import frame_power
from streamsv.encoder import Encoder, State
from streamsv.engine.config import EngineConfig
from streamsv.engine.foreground import Foreground
from streamsv.engine.forgetting import TRUST_FROM, Forgetting, Kept
from streamsv.engine.guard import RECENT_HOPS, SpeechGuard
from streamsv.engine.quality import QualityWatch
from streamsv.engine.session import Session
from streamsv.engine.stream import QueuedHop, check_format
from streamsv.errors import ConfigError, ModelMismatch, UnknownSpeaker
from streamsv.events import (
    DecisionMade,
    Event,
    Reason,
    Score,
    ScoreUpdated,
    SessionEnded,
    SpeakerChanged,
    SpeechEnded,
    Verdict,
)
from streamsv.scoring.calibration import Calibration
from streamsv.scoring.policy import Decision, Policy, policy_for
from streamsv.scoring.similarity import Directions
from streamsv.scoring.takeover import TakeoverModel, TakeoverWatch
from streamsv.voiceprints import Voiceprint

Floats = NDArray[np.float32]

_FEW = 16


class VerificationSession(Session):
    """One stream against voiceprints; see :class:`~streamsv.engine.session.Session` for its calls.

    In ``verify`` mode each claimed voiceprint gets a decision of its own. In ``identify`` mode
    there is one decision among all of them, and "nobody" (speaker ``None``, verdict ``reject``)
    is an answer. A decision is made once; scores go on after it.
    """

    __slots__ = (
        "_channel",
        "_columns",
        "_decisions_due",
        "_directions",
        "_foreground",
        "_forgetting",
        "_guard",
        "_heard",
        "_hops",
        "_hops_heard",
        "_hops_looked_at",
        "_hops_of_background",
        "_is_background",
        "_is_on_trial",
        "_latest",
        "_lines",
        "_loud_enough_from",
        "_mode",
        "_policies",
        "_power",
        "_quality",
        "_speakers",
        "_takeover",
        "_verdicts",
    )

    def __init__(
        self,
        encoder: Encoder,
        calibration: Calibration,
        config: EngineConfig,
        voiceprints: Sequence[Voiceprint],
        audio: AudioFormat,
        mode: str = "verify",
        takeover: TakeoverModel | None = None,
    ) -> None:
        if mode not in ("verify", "identify"):
            raise ConfigError(f"mode is {mode!r}; allowed are verify and identify.", mode)
        check_format(audio)
        voiceprints = _claimed(voiceprints, mode)
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
        channels = [calibration.channel_of_trial(vp.channel, audio.channel) for vp in voiceprints]
        candidates = len(speakers) if mode == "identify" else 1
        policies = {
            channel: policy_for(calibration, config.decision, channel, candidates)
            for channel in dict.fromkeys(channels)  # what is missing is said now, not in mid-call
        }
        super().__init__(encoder, config, audio, mode, speakers)
        self._mode = mode
        self._speakers = speakers
        self._directions = Directions(np.stack([vp.embedding for vp in voiceprints]))
        self._policies: dict[str | None, Policy] = {
            speaker: policies[channel] for speaker, channel in zip(speakers, channels, strict=True)
        }
        hop_s = encoder.hop_samples / SAMPLE_RATE
        heard = [calibration.heard_by_hop(hop_s, channel) for channel in policies]
        self._heard = list(zip(*heard, strict=True))
        known = list(policies)
        self._lines: list[tuple[float, float, int]] = []
        for voiceprint, channel in zip(voiceprints, channels, strict=True):
            slope, offset = calibration.enrolled(voiceprint.net_speech_s, channel)
            self._lines.append((float(slope), float(offset), known.index(channel)))
        self._columns = np.array(self._lines).T if len(self._lines) > _FEW else None
        self._quality = QualityWatch(config.quality)
        self._guard = SpeechGuard.of(encoder, config.guard, self._state)
        self._forgetting = Forgetting(encoder, self._state) if self._guard else None
        self._foreground: Foreground | None = None
        if self._guard:
            of = config.guard
            self._foreground = Foreground(of.below_loudest_db, of.min_speech_dbfs)
        self._power = 0.0
        self._is_background = False
        self._is_on_trial = False
        self._hops = 0
        self._hops_looked_at = 0
        self._hops_heard = 0
        self._hops_of_background = 0
        self._loud_enough_from = 0
        self._takeover = TakeoverWatch(takeover) if takeover else None
        self._decisions_due = 1 if mode == "identify" else len(speakers)
        self._verdicts: dict[str | None, Verdict] = {}
        self._latest: tuple[Score, ...] = ()
        self._channel = audio.channel

    @property
    def verdicts(self) -> dict[str | None, Verdict]:
        """The decisions made so far, by speaker (``None``: nobody)."""
        return dict(self._verdicts)

    @property
    def policy(self) -> Policy:
        """The rule for the first voiceprint: its thresholds are worth showing."""
        return self._policies[self._speakers[0]]

    @property
    def hops(self) -> int:
        """Hops that the embedding rests on: without what was forgotten, with what is on trial."""
        return self._hops

    @property
    def _net_speech_s(self) -> float:
        """Speech that the scores rest on, without what was forgotten or is on trial."""
        hops = self._hops
        if self._forgetting is not None and self._is_on_trial:
            hops = self._forgetting.kept.hops
        return hops * self._encoder.hop_samples / SAMPLE_RATE

    def _state_for(self, due: QueuedHop) -> State:
        """The stream's; for a hop of the background one that nobody goes on from."""
        foreground = self._foreground
        if foreground is None:
            return self._state
        self._power = frame_power(due.pcm)
        self._is_background = not foreground.counts(self._power, due.end_position)
        return self._encoder.blank if self._is_background else self._state

    def _answered(self, hop: QueuedHop, embedding: Floats, state: State) -> list[Event]:
        """As of every session; a hop of the background was not heard."""
        if self._foreground is not None and self._is_background:
            self._foreground.skip()
            return []
        return super()._answered(hop, embedding, state)

    def _scored(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        self._hops += 1
        self._hops_heard += 1
        at_s, levels = hop.at_s, hop.levels
        scores = self._scores(embedding, self._hops)
        is_other = False
        guard, forgetting, foreground = self._guard, self._forgetting, self._foreground
        if guard is not None and forgetting is not None and foreground is not None:
            guard.hear(self._state)
            is_speech = guard.latest_logit >= TRUST_FROM
            foreground.hear(self._power, hop.end_position, is_speech)
            if foreground.is_new and self._may_start_over:
                return self._start_over(guard, forgetting, foreground)
            recent, kept = guard.recent_logit, foreground.levels
            if forgetting.hear(recent, self._state, self._hops, scores, kept):
                return self._go_back(hop, guard, forgetting)
            self._is_on_trial = forgetting.is_on_trial
            is_other = guard.is_surely_no_speech
            if foreground.is_faint:
                self._loud_enough_from = self._hops_heard + RECENT_HOPS
        events: list[Event] = []
        events += self._quality.look(levels, at_s, is_speech=not is_other)
        if self._takeover is not None:
            events += self._changes(hop, embedding)
        if self._is_on_trial:
            return events
        self._latest = scores
        net_speech_s = self._hops * self._encoder.hop_samples / SAMPLE_RATE
        if not self._hops % self._config.update_every_hops:
            events.append(ScoreUpdated(at_s, net_speech_s, scores, levels.snr_db, self._channel))
        # Whatever is shown, the policy has looks of its own: the rule was fitted on all of them.
        if len(self._verdicts) < self._decisions_due:
            events += self._decisions(at_s, net_speech_s)
        return events

    def _go_back(self, hop: QueuedHop, guard: SpeechGuard, forgetting: Forgetting) -> list[Event]:
        """Forget what was heard up to ``hop`` since the moment that was kept; and what is said of
        it: the scores as they were then, once, if there were any.
        """
        is_news, self._is_on_trial = not self._is_on_trial, True
        self._go_on_from(forgetting.go_back(), guard, forgetting.kept)
        if self._foreground is not None:
            self._foreground.go_back(forgetting.kept.levels)
        events: list[Event] = []
        events += self._quality.look(hop.levels, hop.at_s, is_speech=False)
        if is_news and self._latest:
            snr_db, net_speech_s = hop.levels.snr_db, self._net_speech_s
            updated = ScoreUpdated(hop.at_s, net_speech_s, self._latest, snr_db, self._channel)
            events.append(updated)
        return events

    def _go_on_from(self, state: State, guard: SpeechGuard, kept: Kept) -> None:
        self._state = state
        self._hops, self._latest = kept.hops, kept.scores
        guard.begin(state)
        if self._takeover is not None:
            self._takeover.go_back(self._hops)

    @property
    def _may_start_over(self) -> bool:
        """Whether a decision is due, and nobody was accepted on what was heard so far."""
        is_due = len(self._verdicts) < self._decisions_due
        return is_due and Verdict.ACCEPT not in self._verdicts.values()

    def _start_over(
        self, guard: SpeechGuard, forgetting: Forgetting, foreground: Foreground
    ) -> list[Event]:
        """A nearer voice has come: all that was heard before, and its own first, is forgotten."""
        self._go_on_from(forgetting.start_over(), guard, forgetting.kept)
        foreground.start_over()
        self._is_on_trial = False
        self._hops_of_background = self._hops_heard
        return []

    def _released(self) -> list[Event]:
        """As of every session; the gate does not know what was forgotten of its speech."""
        return [
            SpeechEnded(event.at_s, self._net_speech_s) if isinstance(event, SpeechEnded) else event
            for event in super()._released()
        ]

    @property
    def _is_speech(self) -> bool:
        """Whether what was heard of late is speech, and counts."""
        return self._guard is None or (self._guard.is_speech and not self._is_on_trial)

    @property
    def _is_too_quiet(self) -> bool:
        """Whether up to a second ago all was so faint that it may be somebody in the background."""
        return self._guard is not None and self._hops_heard < self._loud_enough_from

    def _changes(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        """Whose voice another has taken over from, by what was heard up to this hop."""
        if self._takeover is None:
            return []
        found = self._takeover.hear(embedding, self._state, hop.at_s, self._is_speech)
        return [
            SpeakerChanged(hop.at_s, speaker, changed_at_s, self._net_speech_s)
            for speaker, changed_at_s in found
        ]

    def _scores(self, embedding: Floats, hops: int) -> tuple[Score, ...]:
        """The scores to show: all that are claimed, or the best candidates, best first.

        Few are scored in plain numbers: a call on numpy costs more than their work.
        """
        cosines = self._directions.cosines(embedding)
        heard = self._heard[min(hops, len(self._heard) - 1)]
        if self._columns is None:
            llrs = [
                (slope + heard[row][0]) * cosine + offset + heard[row][1]
                for (slope, offset, row), cosine in zip(self._lines, cosines, strict=True)
            ]
        else:
            slopes, offsets, rows = self._columns
            lines = np.array(heard)[rows.astype(np.intp)]
            llrs = ((slopes + lines[:, 0]) * cosines + offsets + lines[:, 1]).tolist()
        shown: Iterable[int] = range(len(llrs))
        if self._mode == "identify":
            best = sorted(shown, key=lambda i: -llrs[i])
            shown = best[: self._config.candidates_shown]
        return tuple([Score(self._speakers[i], cosines[i], None, llrs[i]) for i in shown])

    def _decisions(self, at_s: float, net_speech_s: float) -> list[Event]:
        """A look at the latest scores: the decisions that they are enough for.

        No look is taken twice: after something was forgotten, the next is taken with more speech
        than any before, so that a call has no more looks than one in which nothing is forgotten.
        """
        guard = self._guard
        is_sure = guard is None or (guard.is_speech_now and guard.is_enough_to_decide)
        if self._hops <= self._hops_looked_at or not (self._is_speech and is_sure):
            return []
        if self._is_too_quiet:
            return []
        self._hops_looked_at = self._hops
        events: list[Event] = []
        for speaker, score in self._waiting():
            if score is None:
                continue
            found = self._policies[score.speaker].look(score.llr, net_speech_s)
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
            if self._takeover is not None:
                row = self._speakers.index(speaker)
                self._takeover.accept(speaker, self._directions.rows[row])
        self._verdicts[speaker] = verdict
        promised = self._policies[score.speaker if score else self._speakers[0]].promised_error_rate
        return DecisionMade(at_s, speaker, verdict, reason, promised, net_speech_s, score)

    def _ending(self) -> list[Event]:
        at_s, net_speech_s = self._stream.at_s, self._net_speech_s
        events = self._decisions(at_s, net_speech_s)
        for speaker, score in self._waiting():
            verdict, reason = self._at_end(net_speech_s)
            events.append(self._decide(speaker, score, verdict, reason, at_s, net_speech_s))
        return [*events, SessionEnded(at_s, net_speech_s)]

    def _at_end(self, net_speech_s: float) -> Decision:
        """What is said of those that no look decided: sound enough that is not speech enough is
        a reason of its own, and so is speech that is too faint.
        """
        verdict, reason = self.policy.at_end(net_speech_s)
        hop_s = self._encoder.hop_samples / SAMPLE_RATE
        near_s = (self._hops_heard - self._hops_of_background) * hop_s
        _, of_all_sound = self.policy.at_end(near_s)
        is_short = reason is Reason.NOT_ENOUGH_SPEECH
        is_held_back = not self._is_speech and not self._is_on_trial
        if of_all_sound is not Reason.NOT_ENOUGH_SPEECH and (is_short or is_held_back):
            return verdict, Reason.NOT_SPEECH
        if reason is not Reason.NOT_ENOUGH_SPEECH and self._is_too_quiet:
            return verdict, Reason.TOO_QUIET
        return verdict, reason


def _claimed(voiceprints: object, mode: str) -> list[Voiceprint]:
    """The voiceprints as a list; a ConfigError that says what to pass for anything else."""
    is_several = isinstance(voiceprints, Iterable) and not isinstance(voiceprints, str | bytes)
    claimed: list[Any] = list(voiceprints) if is_several else [voiceprints]  # type: ignore[call-overload]
    for each in claimed:
        if not isinstance(each, Voiceprint):
            shown = repr(each) if isinstance(each, str) else f"a {type(each).__name__}"
            raise ConfigError(
                f"{mode}() takes voiceprints and was given {shown}. Pass what voiceprint() of an "
                "enrollment gives, or what a VoiceprintStore has: store.get(speaker).",
                str(type(each).__name__),
            )
    return claimed
