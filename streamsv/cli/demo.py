"""``streamsv demo``: three calls against one voiceprint, with bundled voices and no microphone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from typing import TYPE_CHECKING

from streamsv.audio import Lost
from streamsv.cli import options, sounds, terminal
from streamsv.cli.enroll import now
from streamsv.cli.options import ConfigOption, DebugOption, JsonOption, SpeedOption
from streamsv.cli.playback import Player
from streamsv.cli.render import EnrollmentPicture, VerificationPicture
from streamsv.cli.screens import Listener, Picture, Screen, screen_for
from streamsv.cli.sounds import Piece, Sound
from streamsv.errors import StreamsvError
from streamsv.events import DecisionMade, Event, ScoreUpdated, Verdict

if TYPE_CHECKING:
    from streamsv.engine import Engine
    from streamsv.voiceprints import Voiceprint

_SPEED = 5.0
_LEAST_FALL = 1.0
_SPEAKER = "voice A"
_HOW_SHOWN = f"Shown at {_SPEED:g} times real time, without sound; --speed 1 is real time."
_VERDICT_STAYS = "The verdict stays: a voiceprint is decided once."
_RATE = 0.05
_PROMISE = (
    f"This demo lets at most {_RATE:.0%} of strangers' calls pass. The default is stricter, and "
    "takes longer to accept."
)

_WAS = {
    Verdict.ACCEPT: "accepted",
    Verdict.REJECT: "rejected",
    Verdict.UNDECIDED: "left undecided",
}

_NEXT = """\
Next, with your own voice:
  streamsv live               talk, and watch the score
  streamsv enroll NAME FILE   keep a voiceprint
  streamsv verify NAME FILE   is it this person?"""


class DemoError(StreamsvError):
    """The demo's voices were not told apart as they should be."""

    code = "demo"


def demo(
    speed: SpeedOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Watch one voice recognized, another refused, and one replaced in the middle of a call."""
    engine = options.load_engine(config) if config else quick_engine()
    if speed is None:
        is_watched = terminal.output().is_live and not as_json
        speed = _SPEED if is_watched else 0.0
        if is_watched:
            terminal.output().say(_HOW_SHOWN)
    stage = Stage(engine, speed, as_json)
    stage.enroll()
    if not (config or as_json):
        terminal.output().say(_PROMISE)
    problems = [*stage.same_voice(), *stage.other_voice(), *stage.changing_voice()]
    if problems:
        raise DemoError(
            f"The demo did not go as it should: {' '.join(problems)} The loaded model does not "
            "tell these voices apart; `streamsv model info` says which it is."
        )
    if not as_json:
        terminal.output().say()
        terminal.output().say(_NEXT)


def quick_engine() -> Engine:
    """The bundled engine, at the demo's false-accept rate."""
    from streamsv.engine import Engine, EngineConfig
    from streamsv.scoring.policy import DecisionConfig, TargetFar

    return Engine.load(EngineConfig(decision=DecisionConfig(target_far=TargetFar(_RATE, _RATE))))


class Stage:
    """The scenes of the demo. Each plays, says what happened, and returns what went wrong.

    ``screen_of`` gives the screen of a picture, its title, and whether it is for JSON.
    """

    def __init__(
        self,
        engine: Engine,
        speed: float,
        as_json: bool,
        screen_of: Callable[[Picture, str, bool], Screen] = screen_for,
    ) -> None:
        self._screen_of = screen_of
        self._engine = engine
        self._speed = speed
        self._as_json = as_json
        self._voiceprint: Voiceprint

    def enroll(self) -> None:
        """Make the voiceprint that the calls are held against; it is stored nowhere."""
        wanted_s = self._engine.config.enrollment.wanted_net_speech_s
        title = f"1/4 Enrolling {_SPEAKER}"
        with _clip("voice_a_enroll") as sound:
            session = self._engine.enroll(_SPEAKER, sound.format)
            picture = EnrollmentPicture(title, wanted_s, sound.duration_s)
            screen = self._screen_of(picture, title, self._as_json)
            with screen, Player(session, screen, self._speed, False) as player:
                player.play(sound)
        self._voiceprint = session.voiceprint(now())

    def same_voice(self) -> list[str]:
        """A call by the voice that was enrolled."""
        with _clip("voice_a_call") as sound:
            heard = self._call("2/4 A call by the same person", sound)
        return self._judged("same_voice", "The same person", heard.decision, Verdict.ACCEPT)

    def other_voice(self) -> list[str]:
        """A call by another voice."""
        with _clip("voice_b_call") as sound:
            heard = self._call("3/4 A call by somebody else", sound)
        return self._judged("other_voice", "Somebody else", heard.decision, Verdict.REJECT)

    def changing_voice(self) -> list[str]:
        """A call that the enrolled voice begins and another one goes on with."""
        with _clip("voice_a_call") as first, _clip("voice_c_call") as second:
            changes_at_s = (first.duration_s or 0.0) / 2
            joined = Sound(
                "two voices",
                first.format,
                changes_at_s + (second.duration_s or 0.0),
                itertools.chain(_until(changes_at_s, first), second.pieces),
            )
            heard = self._call("4/4 A call in which the voice changes", joined, changes_at_s)
        before, after = heard.llr_at(changes_at_s), heard.llr_at(float("inf"))
        has_fallen = before - after >= _LEAST_FALL
        how = f"fell by {before - after:.1f}" if has_fallen else "did not fall"
        said = f"The LLR {how}: {before:+.1f} when the voice changed, {after:+.1f} at the end."
        problems = self._tell("changing_voice", said, has_fallen)
        if not self._as_json and heard.decision.at_s <= changes_at_s:
            terminal.output().say(_VERDICT_STAYS)
        return problems

    def _call(self, title: str, sound: Sound, changes_at_s: float | None = None) -> _Heard:
        session = self._engine.verify(self._voiceprint, sound.format)
        picture = VerificationPicture(title, session.policy, sound.duration_s)
        if changes_at_s is not None:
            picture.mark(changes_at_s, "voice changes")
        screen = self._screen_of(picture, title, self._as_json)
        heard = _Heard(screen)
        with screen, Player(session, heard, self._speed) as player:
            player.play(sound)
        return heard

    def _judged(self, scene: str, who: str, decision: DecisionMade, expected: Verdict) -> list[str]:
        after = f"after {decision.net_speech_s:.1f} s of speech"
        said = f"{who} was {_WAS[decision.verdict]} {after}."
        return self._tell(scene, said, decision.verdict is expected)

    def _tell(self, scene: str, said: str, is_as_expected: bool) -> list[str]:
        if self._as_json:
            told = {"scene": scene, "is_as_expected": is_as_expected, "detail": said}
            terminal.write_json({"type": "demo_scene", **told})
        else:
            terminal.output().say(said, style="green" if is_as_expected else "red")
        return [] if is_as_expected else [said]


class _Heard:
    """Passes a call's events on to a screen and remembers the decision and the LLRs."""

    decision: DecisionMade

    def __init__(self, screen: Listener) -> None:
        self._screen = screen
        self._llrs: list[tuple[float, float]] = []

    def show(self, events: Iterable[Event], at_s: float | None = None) -> None:
        """Take the events of a session against one voiceprint."""
        for event in events:
            match event:
                case DecisionMade():
                    self.decision = event
                case ScoreUpdated():
                    self._llrs.append((event.at_s, event.scores[0].llr))
            self._screen.show([event])
        self._screen.show([], at_s)

    def llr_at(self, at_s: float) -> float:
        """The last LLR up to the media time ``at_s``. Raises DemoError if there is none."""
        heard = [llr for heard_at_s, llr in self._llrs if heard_at_s <= at_s]
        if not heard:
            raise DemoError(
                "No score was shown before the voice changed, so the demo cannot say whether it "
                "fell. Lower update_every_hops in the configuration."
            )
        return heard[-1]


@contextlib.contextmanager
def _clip(name: str) -> Iterator[Sound]:
    clip = resources.files("streamsv.clips") / f"{name}.opus"
    with resources.as_file(clip) as path, sounds.from_file(path) as sound:
        yield sound


def _until(end_s: float, sound: Sound) -> Iterator[Piece]:
    """The pieces of a file up to ``end_s``."""
    left = round(end_s * sound.format.sample_rate)
    for piece in sound.pieces:
        if not isinstance(piece, Lost) and left > 0:
            yield piece[:left]
            left -= len(piece)
