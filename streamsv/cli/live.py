"""``streamsv live``: the guided demo with a microphone. Nothing is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streamsv.cli import options, sounds, terminal
from streamsv.cli.enroll import has_enough_speech, now
from streamsv.cli.options import (
    ConfigOption,
    DebugOption,
    DeviceOption,
    JsonOption,
    MaxSecondsOption,
)
from streamsv.cli.playback import Player
from streamsv.cli.render import EnrollmentPicture, VerificationPicture
from streamsv.cli.screens import screen_for
from streamsv.events import DecisionMade, Event, ScoreUpdated

if TYPE_CHECKING:
    from streamsv.engine import Engine
    from streamsv.voiceprints import Voiceprint

_SPEECH_AFTER_VERDICT_S = 3.0

_READ = """\
First, a voiceprint. Talk for a quarter of a minute, as you would to a friend: what you did this \
morning, what you see from the window, what you will eat tonight. Pauses do not matter.
"""
_TALK = """
Now talk again, or let somebody else talk, round by round. Ctrl-C ends it.
"""


def live(
    device: DeviceOption = None,
    max_seconds: MaxSecondsOption = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="End after so many verdicts.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Enroll with the microphone, then talk and watch. Nothing is stored."""
    engine = options.load_engine(config)
    voiceprint = _enrolled(engine, device, max_seconds, as_json)
    _say(_TALK, as_json)
    done = 0
    while rounds is None or done < rounds:
        done += 1
        _judge(engine, voiceprint, f"Round {done}", device, max_seconds, as_json)


def _enrolled(
    engine: Engine, device: str | None, max_seconds: float | None, as_json: bool
) -> Voiceprint:
    with sounds.from_microphone(device, max_seconds) as sound:
        _say(_READ, as_json)
        title = f"Enrolling you from {sound.name}"
        session = engine.enroll("you", sound.format)
        picture = EnrollmentPicture(title, engine.config.enrollment.wanted_net_speech_s)
        screen = screen_for(picture, title, as_json)
        with screen, Player(session, screen, shows_partial_result=False) as player:
            player.play(sound, has_enough_speech)
    return session.voiceprint(now())


def _judge(
    engine: Engine,
    voiceprint: Voiceprint,
    round_title: str,
    device: str | None,
    max_seconds: float | None,
    as_json: bool,
) -> None:
    with sounds.from_microphone(device, max_seconds) as sound:
        title = f"{round_title} · {sound.name}"
        session = engine.verify(voiceprint, sound.format)
        screen = screen_for(VerificationPicture(title, session.policy), title, as_json)
        with screen, Player(session, screen) as player:
            player.play(sound, _RoundEnd().is_reached)


class _RoundEnd:
    """A round goes on for a few seconds of speech after the verdict, so that it can be watched."""

    def __init__(self) -> None:
        self._decided_after_s: float | None = None

    def is_reached(self, event: Event) -> bool:
        if isinstance(event, DecisionMade):
            self._decided_after_s = event.net_speech_s
        if self._decided_after_s is None or not isinstance(event, ScoreUpdated):
            return False
        return event.net_speech_s >= self._decided_after_s + _SPEECH_AFTER_VERDICT_S


def _say(text: str, as_json: bool) -> None:
    if not as_json:
        terminal.output().say(text)
