"""Who is talking? Enroll with the microphone, then watch the score, in plain Python.

``streamsv live`` does the same with a picture; this file shows how little is needed for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime

import streamsv
from streamsv.audio import Lost
from streamsv.events import DecisionMade, EnrollmentProgress, Event, ScoreUpdated


def listen(session: streamsv.EnrollmentSession | streamsv.VerificationSession) -> Iterator[Event]:
    """The events of one session that hears the default microphone, until the caller stops."""
    with streamsv.Microphone() as microphone:
        for block in microphone:
            if isinstance(block, Lost):
                yield from session.gap(block.seconds)
            else:
                yield from session.push(block.tobytes())


def microphone_format() -> streamsv.AudioFormat:
    """The format in which the default microphone gives its sound."""
    with streamsv.Microphone() as microphone:
        return microphone.format


def main() -> None:
    """Enroll, then verify for a while."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enroll", type=float, default=8.0, help="seconds of speech to enroll")
    parser.add_argument("--watch", type=float, default=30.0, help="seconds to watch")
    arguments = parser.parse_args()
    engine, audio = streamsv.Engine.load(), microphone_format()

    print(f"Talk until {arguments.enroll:.0f} seconds of speech have been heard.", flush=True)
    enrollment = engine.enroll("you", audio)
    for event in listen(enrollment):
        if isinstance(event, EnrollmentProgress):
            print(f"{event.net_speech_s:5.1f} s of speech, {event.feedback}", flush=True)
            if event.net_speech_s >= arguments.enroll:
                break
    enrollment.finish()
    you = enrollment.voiceprint(created_at=datetime.now(UTC).isoformat())

    print("Now talk, or let somebody else talk.", flush=True)
    session = engine.verify(you, audio)
    for event in listen(session):
        if isinstance(event, ScoreUpdated):
            print(f"{event.net_speech_s:5.1f} s  LLR {event.scores[0].llr:+.1f}", flush=True)
        elif isinstance(event, DecisionMade):
            print(f"{event.verdict} after {event.net_speech_s:.1f} s of speech", flush=True)
        if event.at_s >= arguments.watch:
            break
    session.finish()
    print(f"In the end: {session.verdicts['you']}", flush=True)


if __name__ == "__main__":
    main()
