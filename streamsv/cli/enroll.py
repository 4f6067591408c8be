"""``streamsv enroll``: from recordings of one voice to a voiceprint in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from pathlib import Path
from typing import Annotated

import typer

from streamsv.cli import options, sounds, terminal
from streamsv.cli.options import (
    ConfigOption,
    DebugOption,
    DeviceOption,
    JsonOption,
    MaxSecondsOption,
    MicrophoneOption,
    StoreOption,
)
from streamsv.cli.playback import Player
from streamsv.cli.render import EnrollmentPicture
from streamsv.cli.screens import screen_for
from streamsv.cli.voiceprints import described
from streamsv.errors import UnknownSpeaker, VoiceprintExists
from streamsv.events import EnrollmentProgress, Event
from streamsv.voiceprints import Consent, Voiceprint, VoiceprintStore, check_speaker


def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The speaker's id.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="Recordings of the speaker.")
    ] = None,
    microphone: MicrophoneOption = False,
    device: DeviceOption = None,
    max_seconds: MaxSecondsOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the speaker's present voiceprint.")
    ] = False,
    consent_by: Annotated[
        str | None, typer.Option("--consent-by", help="Who agreed to the enrollment.")
    ] = None,
    consent_purpose: Annotated[
        str | None, typer.Option("--consent-purpose", help="What the voiceprint may be used for.")
    ] = None,
    consent_given_at: Annotated[
        str | None, typer.Option("--consent-given-at", help="When, ISO 8601. Default: now.")
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Make a voiceprint of NAME and store it. Several FILES are several recordings."""
    recordings = files or []
    sounds.check_one_source(bool(recordings), microphone)
    check_speaker(name)
    consent = _consent(consent_by, consent_purpose, consent_given_at)
    with options.open_store(store, may_create=True) as opened:
        before = _present(opened, name, replace)
        voiceprint = _recorded(name, recordings, device, max_seconds, config, as_json)
        if before is not None:
            voiceprint = dataclasses.replace(voiceprint, created_at=before.created_at)
            consent = consent or before.consent
        voiceprint = dataclasses.replace(voiceprint, consent=consent)
        if replace:
            opened.replace(voiceprint)
        else:
            opened.add(voiceprint)
        if as_json:
            terminal.write_json(described("voiceprint_stored", voiceprint.summary()))
        else:
            terminal.output().say(f"Stored the voiceprint of {name} in {opened.path}.")


def now() -> str:
    """The time, ISO 8601 in UTC. The engine reads no clock; this is where one is read."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _consent(by: str | None, purpose: str | None, given_at: str | None) -> Consent | None:
    if by is None and purpose is None and given_at is None:
        return None
    if by is None or purpose is None:
        raise typer.BadParameter("A consent needs both --consent-by and --consent-purpose.")
    return Consent(given_at or now(), by, purpose)


def _present(store: VoiceprintStore, name: str, replace: bool) -> Voiceprint | None:
    """The speaker's present voiceprint, which only --replace may touch."""
    try:
        found = store.get(name)
    except UnknownSpeaker:
        return None
    if not replace:
        raise VoiceprintExists(
            f"There is a voiceprint of {name!r} already, created at {found.created_at}. Pass "
            "--replace to replace it, or choose another name.",
            name,
        )
    return found


def _recorded(
    name: str,
    files: list[Path],
    device: str | None,
    max_seconds: float | None,
    config: Path | None,
    as_json: bool,
) -> Voiceprint:
    engine = options.load_engine(config)
    wanted_s = engine.config.enrollment.wanted_net_speech_s
    with contextlib.ExitStack() as stack:
        if files:
            recordings = [stack.enter_context(sounds.from_file(file)) for file in files]
        else:
            recordings = [stack.enter_context(sounds.from_microphone(device, max_seconds))]
        title = f"Enrolling {name} from {', '.join(sound.name for sound in recordings)}"
        session = engine.enroll(name, recordings[0].format)
        duration_s = sum(sound.duration_s or 0.0 for sound in recordings) or None
        screen = screen_for(EnrollmentPicture(title, wanted_s, duration_s), title, as_json)
        with screen, Player(session, screen, shows_partial_result=False) as player:
            for index, sound in enumerate(recordings):
                if index:
                    screen.show(session.next_recording(sound.format))
                player.play(sound, None if files else has_enough_speech)
    return session.voiceprint(now())


def has_enough_speech(event: Event) -> bool:
    """Whether ``event`` says that an enrollment has all the speech that it wants."""
    return isinstance(event, EnrollmentProgress) and not event.remaining_s
