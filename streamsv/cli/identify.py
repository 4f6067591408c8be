"""``streamsv identify``: whose voice is this, if anybody's?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from streamsv.cli import options, sounds, terminal
from streamsv.cli.exits import of_verdict
from streamsv.cli.options import ConfigOption, DebugOption, JsonOption, SpeedOption, StoreOption
from streamsv.cli.playback import Player, speed_of
from streamsv.cli.render import VerificationPicture
from streamsv.cli.screens import screen_for
from streamsv.errors import ModelMismatch


def identify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of one voice.")],
    speed: SpeedOption = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Whose voice is this? Exit code 0 somebody enrolled, 1 nobody, 3 undecided."""
    with sounds.from_file(file) as sound:
        engine = options.load_engine(config)
        with options.open_store(store) as opened:
            voiceprints = opened.all(engine.fingerprint)
            of_other_models = len(opened.list()) - len(voiceprints)
        if of_other_models:
            _say_left_out(of_other_models, len(voiceprints), as_json)
        session = engine.identify(voiceprints, sound.format)
        title = f"one of {len(voiceprints)} · {sound.name}"
        picture = VerificationPicture(title, session.policy, sound.duration_s)
        screen = screen_for(picture, title, as_json)
        with screen, Player(session, screen, speed_of(sound, screen, speed)) as player:
            player.play(sound)
    (verdict,) = session.verdicts.values()
    raise typer.Exit(of_verdict(verdict))


def _say_left_out(left_out: int, left: int, as_json: bool) -> None:
    """Warn of voiceprints that cannot be compared. Raises ModelMismatch if no other is ``left``."""
    if not left:
        are = "voiceprint is" if left_out == 1 else "voiceprints are"
        raise ModelMismatch(
            f"{left_out} {are} of another model, and there is no other; enroll again with "
            "`streamsv enroll NAME --replace`, or load that model.",
            left_out,
        )
    message = f"Left out: {left_out} of another model; enroll these speakers again."
    if as_json:
        warning = {"type": "warning", "code": ModelMismatch.code, "message": message}
        terminal.write_json(warning, sys.stderr)
    else:
        terminal.errors().say(message)
