"""Do calls that are stepped together decide as each does alone? Over the trials of evaluation sets:

    python docs/batching.py SET...

Each test recording is a call that claims everybody it has a trial with. It is heard alone and again
beside 31 others in one batch, in packets of 100 ms and begun one after the other. A row of each set
has its calls, trials, how many verdicts differ, how many come at another hop, how many calls differ
in kind, number, media time or net speech of their events, and the largest difference of a running
LLR. The exit status is 1 if any call differs so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from streamsv.encoder import Batcher
from streamsv.engine import Engine, VerificationSession
from streamsv.evaluation.sets import EvaluationSet, load_set
from streamsv.evaluation.streaming import played
from streamsv.events import DecisionMade, Event, ScoreUpdated
from streamsv.voiceprints import Voiceprint

TOGETHER = 32
PACKET_S = 0.1
_DATE = "2025-01-31T09:30:00Z"


def enrolled(engine: Engine, found: EvaluationSet) -> dict[tuple[str, ...], Voiceprint]:
    """A voiceprint for each enrollment of the set's trials."""
    voiceprints = {}
    for names in sorted({trial.enroll for trial in found.trials}):
        blocks = list(played([found.streams[name].path for name in names], None))
        session = engine.enroll("+".join(names)[:64], blocks[0][0], force=True)
        for _, data in blocks:
            session.push(data)
        session.finish()
        if session.net_speech_s > 0:
            voiceprints[names] = session.voiceprint(_DATE)
    return voiceprints


def together(
    engine: Engine, calls: Sequence[tuple[VerificationSession, bytes, int]]
) -> list[list[Event]]:
    """The events of calls (session, sound, bytes of a packet) that are heard at once."""
    batcher = Batcher(engine.encoder, TOGETHER)
    sessions = [session for session, _, _ in calls]
    events: dict[int, list[Event]] = {id(session): [] for session in sessions}
    sent, tick = [0] * len(calls), 0
    while not all(session.is_ended for session in sessions):
        for place, (session, sound, packet) in enumerate(calls):
            if session.is_ended or tick < place or sent[place] > len(sound):
                continue
            events[id(session)] += session.feed(sound[sent[place] : sent[place] + packet])
            sent[place] += packet
            if sent[place] > len(sound):
                events[id(session)] += session.close_input()
        while stepped := batcher.step(sessions):
            for answer in stepped:
                if answer.error is not None:
                    raise answer.error
                events[id(answer.session)] += answer.events
        tick += 1
    return [events[id(session)] for session in sessions]


class Tally:
    """What is counted over all calls."""

    def __init__(self) -> None:
        self.trials = self.verdicts = self.hops = self.events = 0
        self.llr = 0.0

    def compare(self, alone: Sequence[Event], batched: Sequence[Event]) -> None:
        """Add one call."""

        def shape(events: Sequence[Event]) -> list[tuple[object, ...]]:
            kept = [event for event in events if not isinstance(event, DecisionMade)]
            return [(type(e), e.at_s, getattr(e, "net_speech_s", None)) for e in kept]

        self.events += shape(alone) != shape(batched)
        decided = [
            {event.speaker: event for event in events if isinstance(event, DecisionMade)}
            for events in (alone, batched)
        ]
        for speaker, one in decided[0].items():
            other = decided[1][speaker]
            self.trials += 1
            self.verdicts += one.verdict is not other.verdict
            self.hops += one.at_s != other.at_s
        scores = [[e for e in events if isinstance(e, ScoreUpdated)] for events in (alone, batched)]
        for first, second in zip(*scores, strict=False):
            for one_score, other_score in zip(first.scores, second.scores, strict=True):
                if one_score.llr is not None and other_score.llr is not None:
                    self.llr = max(self.llr, abs(one_score.llr - other_score.llr))


def main(folders: Sequence[str]) -> int:
    """Hear the sets, print a line for each."""
    engine, is_same = Engine.load(), True
    for folder in folders:
        found, tally = load_set(Path(folder)), Tally()
        voiceprints = enrolled(engine, found)
        claims: dict[str, list[Voiceprint]] = {}
        for trial in found.trials:
            if trial.enroll in voiceprints:
                claims.setdefault(trial.test, []).append(voiceprints[trial.enroll])
        names = sorted(claims)
        for start in range(0, len(names), TOGETHER):
            calls, alone = [], []
            for name in names[start : start + TOGETHER]:
                blocks = list(played([found.streams[name].path], None))
                audio, sound = blocks[0][0], b"".join(data for _, data in blocks)
                session = engine.verify(claims[name], audio)
                alone.append([*session.push(sound), *session.finish()])
                packet = round(PACKET_S * audio.sample_rate) * audio.bytes_per_frame
                calls.append((engine.verify(claims[name], audio), sound, packet))
            for one, other in zip(alone, together(engine, calls), strict=True):
                tally.compare(one, other)
        is_same = is_same and not tally.events
        sys.stdout.write(
            f"| `{found.name}` | {len(names)} | {tally.trials} | {tally.verdicts} | {tally.hops} | "
            f"{tally.events} | {tally.llr:.1e} |\n"
        )
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
