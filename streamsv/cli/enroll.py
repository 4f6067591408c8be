"""``streamsv enroll``: from recordings of one voice to a voiceprint in the store."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from streamsv.cli import options, sounds, terminal
from streamsv.cli.exits import UsageError
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
from streamsv.cli.screens import Listener, screen_for
from streamsv.cli.voiceprints import described
from streamsv.errors import NotEnoughSpeech, UnknownSpeaker, VoiceprintExists
from streamsv.events import EnrollmentProgress, Event, Feedback
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
    sounds.check_source(name, recordings, microphone, device=device, max_seconds=max_seconds)
    check_speaker(name)
    consent = _consent(consent_by, consent_purpose, consent_given_at)
    with options.open_store(store, may_create=True) as opened:
        before = _present(opened, name, replace)
        voiceprint = _recorded(name, recordings, device, max_seconds, config, as_json)
        if before is not None:
            # A clock that was ahead then must not cost the recording that was just made.
            dates = (before.created_at, voiceprint.created_at)
            created_at = min(dates, key=datetime.datetime.fromisoformat)
            voiceprint = dataclasses.replace(voiceprint, created_at=created_at)
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
    given = [
        f"--consent-{name}"
        for name, value in (("by", by), ("purpose", purpose), ("given-at", given_at))
        if value is not None
    ]
    if not given:
        return None
    if by is None or purpose is None:
        missing = [name for name in ("--consent-by", "--consent-purpose") if name not in given]
        raise UsageError(f"{given[0]} goes with {' and '.join(missing)}.")
    # Complaints come in the order of the options: by, purpose, given at.
    consent = Consent(now(), by, purpose)
    return consent if given_at is None else dataclasses.replace(consent, given_at=given_at)


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
        levels = _Levels(screen)
        with screen, Player(session, levels, shows_partial_result=False) as player:
            for index, sound in enumerate(recordings):
                if index:
                    levels.show(session.next_recording(sound.format))
                player.play(sound, None if files else has_enough_speech)
    if session.refusal is not None and levels.are_all_too_quiet:
        raise NotEnoughSpeech(
            "Almost no sound could be heard. Raise the level and record again.",
            session.refusal.net_speech_s,
        )
    voiceprint = session.voiceprint(now())
    warning = levels.warning()
    if warning is not None and not as_json:
        terminal.output().say(warning, style="yellow")
    return voiceprint


class _Levels:
    """Passes an enrollment's events on to a screen and counts how its stretches were."""

    def __init__(self, screen: Listener) -> None:
        self._screen = screen
        self._counts: collections.Counter[Feedback] = collections.Counter()

    def show(self, events: Iterable[Event], at_s: float | None = None) -> None:
        """Take the events of an enrollment."""
        heard = list(events)
        feedback = (each.feedback for each in heard if isinstance(each, EnrollmentProgress))
        self._counts.update(each for each in feedback if each is not Feedback.TOO_SHORT)
        self._screen.show(heard, at_s)

    @property
    def are_all_too_quiet(self) -> bool:
        """Whether there was nothing but stretches that are too quiet."""
        return set(self._counts) == {Feedback.TOO_QUIET}

    def warning(self) -> str | None:
        """A sentence if half of the recording or more was clipped."""
        clipped, stretches = self._counts[Feedback.CLIPPED], self._counts.total()
        if not clipped or 2 * clipped < stretches:
            return None
        return (
            f"{clipped} of {stretches} stretches were clipped; the voiceprint may be poor. Lower "
            "the input level and enroll again with --replace."
        )


def has_enough_speech(event: Event) -> bool:
    """Whether ``event`` says that an enrollment has all the speech that it wants."""
    return isinstance(event, EnrollmentProgress) and not event.remaining_s
