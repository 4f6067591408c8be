"""``streamsv verify``: is this the voice that was enrolled under this name?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamsv.cli import options, sounds
from streamsv.cli.exits import of_verdict
from streamsv.cli.options import (
    ConfigOption,
    DebugOption,
    DeviceOption,
    JsonOption,
    MaxSecondsOption,
    MicrophoneOption,
    SpeedOption,
    StoreOption,
)
from streamsv.cli.playback import Player, speed_of
from streamsv.cli.render import VerificationPicture
from streamsv.cli.screens import screen_for
from streamsv.events import DecisionMade


def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The claimed speaker.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A recording of the voice.")
    ] = None,
    microphone: MicrophoneOption = False,
    device: DeviceOption = None,
    max_seconds: MaxSecondsOption = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Do not stop the microphone at the verdict.")
    ] = False,
    speed: SpeedOption = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Is this the voice of NAME? Exit code 0 accept, 1 reject, 3 undecided."""
    files = [] if file is None else [file]
    sounds.check_source(
        name, files, microphone, device=device, max_seconds=max_seconds, keep_going=keep_going
    )
    with options.open_store(store) as opened:
        voiceprint = opened.get(name)
    with sounds.opened(file, device, max_seconds) as sound:
        engine = options.load_engine(config)
        session = engine.verify(voiceprint, sound.format)
        title = f"{name} · {sound.name}"
        picture = VerificationPicture(title, session.policy, sound.duration_s)
        screen = screen_for(picture, title, as_json)
        stops_at_verdict = microphone and not keep_going
        with screen, Player(session, screen, speed_of(sound, screen, speed)) as player:
            player.play(sound, lambda event: stops_at_verdict and isinstance(event, DecisionMade))
    raise typer.Exit(of_verdict(session.verdicts[name]))
