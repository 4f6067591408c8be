"""``streamsv client``: sound to a server, and what it says, shown as ``verify`` and ``live`` do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamsv.audio import Lost
from streamsv.cli import sounds
from streamsv.cli.enroll import has_enough_speech
from streamsv.cli.exits import ExitCode, UsageError, of_verdict
from streamsv.cli.options import (
    DebugOption,
    DeviceOption,
    JsonOption,
    MaxSecondsOption,
    MicrophoneOption,
    SpeedOption,
)
from streamsv.cli.playback import Interrupted, InterruptWatch, speed_of
from streamsv.cli.render import EnrollmentPicture, VerificationPicture
from streamsv.cli.screens import Picture, Screen, screen_for
from streamsv.cli.sounds import Sound
from streamsv.errors import InconsistentEnrollment, NotEnoughSpeech, StreamsvError
from streamsv.events import DecisionMade, EnrollmentRefused, Event, Refusal, Verdict

if TYPE_CHECKING:
    from streamsv.client import Started, Stream

_WANTED_S = 12.0
_UNTOLD_LLRS = (2.0, -2.0)
"""Drawn where a server does not say what it decides by."""
_LONGEST_SLEEP_S = 0.05


def client(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A recording of the voice.")
    ] = None,
    speakers: Annotated[
        list[str] | None,
        typer.Option("--speaker", metavar="NAME", help="The claimed speaker; may be repeated."),
    ] = None,
    enroll: Annotated[
        str | None, typer.Option("--enroll", metavar="NAME", help="Make a voiceprint of NAME.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the speaker's present voiceprint.")
    ] = False,
    url: Annotated[
        str, typer.Option("--url", envvar="STREAMSV_URL", help="The server's address.")
    ] = "http://127.0.0.1:8080",
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            envvar="STREAMSV_API_KEY",
            show_default=False,
            help="API key. Better in the environment, where no list of processes shows it.",
        ),
    ] = None,
    microphone: MicrophoneOption = False,
    device: DeviceOption = None,
    max_seconds: MaxSecondsOption = None,
    consent_by: Annotated[
        str | None, typer.Option("--consent-by", help="Who agreed to the enrollment.")
    ] = None,
    consent_purpose: Annotated[
        str | None, typer.Option("--consent-purpose", help="What the voiceprint may be used for.")
    ] = None,
    speed: SpeedOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Send a recording or the microphone to a server. Exit codes as `verify`, 0 for an enrollment.

    A dropped connection is made again and goes on where it was.
    """
    sounds.check_source(
        enroll or "",
        [] if file is None else [file],
        microphone,
        device=device,
        max_seconds=max_seconds,
    )
    if bool(speakers) == (enroll is not None):
        raise UsageError("Give either --speaker or --enroll.")
    if enroll is None:
        _refuse_what_enrolls(
            replace=replace, consent_by=consent_by, consent_purpose=consent_purpose
        )
    from streamsv.client import Client

    server = Client(url, key)
    with sounds.opened(file, device, max_seconds) as sound:
        is_live = sound.duration_s is None
        if enroll is not None:
            stream = lambda: server.enroll(  # noqa: E731 - made inside the event loop
                enroll,
                sound.format,
                consent_by=consent_by,
                consent_purpose=consent_purpose,
                is_replacing=replace,
                is_live=is_live,
            )
        else:
            stream = lambda: server.verify(speakers or (), sound.format, is_live=is_live)  # noqa: E731
        whom = enroll or ", ".join(speakers or ())
        title = f"{'Enrolling ' if enroll else ''}{whom} · {sound.name} · {url}"
        claimed = len(set(speakers or ()))
        heard = _Conversation(sound, title, speed, as_json, enroll is not None, claimed)
        with InterruptWatch() as watch:
            asyncio.run(heard.hold(stream, watch))
    raise typer.Exit(heard.exit_code())


def _refuse_what_enrolls(**options: object) -> None:
    """Raise a usage error for the first of ``options``, by their Python names, that is given."""
    for option, value in options.items():
        if value not in (None, False):
            raise UsageError(f"--{option.replace('_', '-')} goes with --enroll.")


class _Conversation:
    """One stream from its first event to its last, shown on a screen."""

    def __init__(
        self,
        sound: Sound,
        title: str,
        speed: float | None,
        as_json: bool,
        is_enrolling: bool,
        claimed: int,
    ) -> None:
        self._claimed = claimed
        self._sound = sound
        self._title = title
        self._speed = speed
        self._as_json = as_json
        self._is_enrolling = is_enrolling
        self._verdicts: list[Verdict] = []
        self._refusal: EnrollmentRefused | None = None
        self._is_enough = False
        self._at_s = 0.0

    async def hold(self, open_stream: Callable[[], Stream], watch: InterruptWatch) -> None:
        """Send and listen until everything is said. Raises what ends it early, and Interrupted.

        What was found until then is shown before that. An enrollment is not stopped early but given
        up: no voiceprint is made of a part of a recording.
        """
        async with open_stream() as stream:
            picture = self._picture(stream.started)
            with screen_for(picture, self._title, self._as_json) as screen:
                listening = asyncio.create_task(self._listen(stream, screen))
                try:
                    early = await self._ended_early(stream, screen, watch, listening)
                    await stream.stop()
                    await listening
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
                if early is not None:
                    raise early

    def exit_code(self) -> ExitCode:
        """What the command exits with. Raises why an enrollment was refused."""
        if self._refusal is not None:
            refusal = self._refusal
            if refusal.reason is Refusal.INCONSISTENT:
                raise InconsistentEnrollment(refusal.detail, refusal.cohesion)
            raise NotEnoughSpeech(refusal.detail, refusal.net_speech_s)
        if self._is_enrolling:
            return ExitCode.ACCEPT
        for verdict in (Verdict.REJECT, Verdict.UNDECIDED):
            if verdict in self._verdicts:
                return of_verdict(verdict)
        return of_verdict(Verdict.ACCEPT if self._verdicts else Verdict.UNDECIDED)

    def _picture(self, started: Started) -> Picture:
        duration_s = self._sound.duration_s
        if self._is_enrolling:
            wanted = (started.enrollment or {}).get("wanted_net_speech_s", _WANTED_S)
            return EnrollmentPicture(self._title, wanted, duration_s)
        return VerificationPicture(self._title, _Granted(started), duration_s)

    async def _ended_early(
        self, stream: Stream, screen: Screen, watch: InterruptWatch, listening: asyncio.Task[None]
    ) -> StreamsvError | Interrupted | None:
        """Send all there is; what ended it before. Raises that of an enrollment."""
        try:
            await self._send(stream, screen, watch, listening)
        except (StreamsvError, Interrupted) as error:
            if self._is_enrolling:
                raise
            return error
        return None

    async def _send(
        self, stream: Stream, screen: Screen, watch: InterruptWatch, listening: asyncio.Task[None]
    ) -> None:
        sound = self._sound
        speed = speed_of(sound, screen, self._speed)
        began = time.monotonic()
        pieces = iter(sound.pieces)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            watch.check()
            if isinstance(piece, Lost):
                await stream.gap(1000 * piece.seconds)
                self._at_s += piece.seconds
            else:
                await stream.send(piece.astype("<f4").tobytes())
                self._at_s += len(piece) / sound.format.sample_rate
            screen.show((), self._at_s)
            due = began + self._at_s / speed if speed else 0.0
            while (left := due - time.monotonic()) > 0:
                await asyncio.sleep(min(left, _LONGEST_SLEEP_S))
                watch.check()
            if self._is_enough or listening.done():
                return

    async def _listen(self, stream: Stream, screen: Screen) -> None:
        async for event in stream:
            self._note(event)
            screen.show([event])

    def _note(self, event: Event) -> None:
        is_microphone = self._sound.duration_s is None
        match event:
            case DecisionMade():
                self._verdicts.append(event.verdict)
                is_all = len(self._verdicts) >= self._claimed
                self._is_enough = self._is_enough or (is_microphone and is_all)
            case EnrollmentRefused():
                self._refusal = event
        if is_microphone and has_enough_speech(event):
            self._is_enough = True


class _Granted:
    """The thresholds that the server said it decides by, for the picture."""

    def __init__(self, started: Started) -> None:
        first = (started.decision or {}).get("min_net_speech_s", 0.0)
        self._steps = started.steps or ((first, *_UNTOLD_LLRS),)

    @property
    def first_look_s(self) -> float:
        """Net speech before which nothing is decided."""
        return self._steps[0][0]

    def thresholds(self, net_speech_s: float) -> tuple[float, float]:
        """The accept and the reject LLR in force, or that will be first."""
        past = [step for step in self._steps if step[0] <= net_speech_s + 1e-6]
        _, accept_llr, reject_llr = past[-1] if past else self._steps[0]
        return accept_llr, reject_llr
