"""Who is talking? Enroll with the microphone, then watch the score, in plain Python.

``streamsv live`` does the same with a picture; this file shows how little is needed for it.
"""

from __future__ import annotations

import argparse
import sys
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
    """Read the arguments; what goes wrong is a sentence and exit code 4."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enroll", type=float, default=8.0, help="seconds of speech to enroll")
    parser.add_argument("--watch", type=float, default=30.0, help="seconds to watch")
    arguments = parser.parse_args()
    try:
        enroll_and_watch(arguments.enroll, arguments.watch)
    except streamsv.StreamsvError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        sys.exit(4)


def enroll_and_watch(enroll_s: float, watch_s: float) -> None:
    """Enroll with ``enroll_s`` seconds of speech, then verify for ``watch_s`` seconds."""
    engine, audio = streamsv.Engine.load(), microphone_format()

    print(f"Talk until {enroll_s:.0f} seconds of speech have been heard.", flush=True)
    enrollment = engine.enroll("you", audio)
    for event in listen(enrollment):
        if isinstance(event, EnrollmentProgress):
            print(f"{event.net_speech_s:5.1f} s of speech, {event.feedback}", flush=True)
            if event.net_speech_s >= enroll_s:
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
        if event.at_s >= watch_s:
            break
    session.finish()
    print(f"In the end: {session.verdicts['you']}", flush=True)


if __name__ == "__main__":
    main()
