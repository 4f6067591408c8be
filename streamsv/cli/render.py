"""The live pictures: a score that grows against its thresholds, and an enrollment that fills up.

A picture takes events and is a Rich renderable of what they add up to; it knows no clock and no
session. One is drawn by every command that listens.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streamsv.cli import words
from streamsv.cli.chart import Mark, Point, Thresholds, chart, gauge
from streamsv.events import (
    AudioGap,
    DecisionMade,
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Event,
    Feedback,
    QualityWarning,
    Refusal,
    Score,
    ScoreUpdated,
    SessionStarted,
    SpeakerChanged,
    SpeechEnded,
    SpeechStarted,
    Verdict,
)

_SCROLLING_SPAN_S = 30.0
_WARNING_SHOWN_S = 5.0
_MAX_POINTS = 20_000
_FEWEST_ROWS, _MOST_ROWS = 3, 8
_AROUND_PICTURE = 3
_MAX_WIDTH = 100

_VERDICT_STYLES = {
    Verdict.ACCEPT: "bold black on green",
    Verdict.REJECT: "bold white on red",
    Verdict.UNDECIDED: "bold black on yellow",
}


class Clockwork:
    """What both pictures show: media time, whether there is speech, and the latest warning."""

    def __init__(self, duration_s: float | None) -> None:
        self.duration_s = duration_s
        self.at_s = 0.0
        self.is_speech = False
        self._warning: tuple[float, str] | None = None

    def take(self, event: Event) -> None:
        """Note the event if it is about time, speech or quality."""
        self.at_s = max(self.at_s, event.at_s)
        match event:
            case SpeechStarted():
                self.is_speech = True
            case SpeechEnded():
                self.is_speech = False
            case QualityWarning():
                self._warning = (event.at_s, event.detail)
            case AudioGap():
                self.is_speech = False
                lost = f"{event.gap_s:.2f} s of sound were lost on the way."
                self._warning = (event.at_s, lost)

    def line(self) -> Text:
        """``● speech  12.4 s of 26.0 s``."""
        dot = ("● speech ", "bold green") if self.is_speech else ("○ silence", "dim")
        of = f" of {self.duration_s:.1f} s" if self.duration_s is not None else " s"
        return Text.assemble(dot, f"  {self.at_s:.1f}{of}")

    def warning(self) -> Text | None:
        """The latest warning while it is fresh."""
        if self._warning is None or self.at_s > self._warning[0] + _WARNING_SHOWN_S:
            return None
        return Text(f"! {self._warning[1]}", "yellow")


class Rule(Protocol):
    """What a picture shows of a policy (`streamsv.scoring.policy`)."""

    @property
    def first_look_s(self) -> float:
        """Net speech before which nothing is decided."""

    def thresholds(self, net_speech_s: float) -> tuple[float, float]:
        """The accept and the reject LLR in force, or that will be first."""


class VerificationPicture:
    """One stream against one voiceprint or many: score, thresholds, time, speech, verdict.

    ``duration_s`` is the length of the sound, ``None`` when it is not known: the chart then shows
    the last half minute. ``policy`` is that of the session; its thresholds are shown as they are in
    force, and once everything is decided as they were then.
    """

    def __init__(
        self,
        title: str,
        policy: Rule,
        duration_s: float | None = None,
    ) -> None:
        self._title = title
        self._policy = policy
        self._clock = Clockwork(duration_s)
        self._latest: ScoreUpdated | None = None
        self._points: collections.deque[Point] = collections.deque(maxlen=_MAX_POINTS)
        self._decisions: list[DecisionMade] = []
        self._wanted_decisions = 1
        self._marks: list[Mark] = []

    def mark(self, at_s: float, label: str) -> None:
        """Say under the chart what happens at ``at_s``."""
        self._marks.append(Mark(at_s, label, "bold"))

    def pass_time(self, at_s: float) -> None:
        """The sound has come to ``at_s``, whether or not there was anything to say about it."""
        self._clock.at_s = max(self._clock.at_s, at_s)

    def take(self, event: Event) -> None:
        """Add an event to the picture."""
        self._clock.take(event)
        match event:
            case SessionStarted():
                self._wanted_decisions = 1 if event.mode == "identify" else len(event.speakers)
            case ScoreUpdated():
                self._latest = event
                best = max(event.scores, key=lambda score: score.llr)
                self._points.append(Point(event.at_s, best.llr))
            case DecisionMade():
                self._decisions.append(event)
                if event.verdict is not Verdict.UNDECIDED:
                    color = "green" if event.verdict is Verdict.ACCEPT else "red"
                    self._marks.append(Mark(event.at_s, event.verdict.value, color))
            case SpeakerChanged():
                self._marks.append(Mark(event.changed_at_s, "another voice", "bold red"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The picture, as wide and as high as the terminal allows."""
        width = min(options.max_width, _MAX_WIDTH)
        inner = width - 4
        head: list[Text | Table] = [self._head(inner), *self._score_lines(inner), self._key(inner)]
        warning = self._clock.warning()
        foot = [*([] if warning is None else [warning]), *self._verdict_lines()]
        wrapped = sum(len(line) // inner for line in foot)
        taken = len(head) + len(self._marks) + 1 + len(foot) + wrapped + _AROUND_PICTURE
        rows = max(_FEWEST_ROWS, min(_MOST_ROWS, console.height - taken))
        drawn = chart(self._points, self._marks, self._thresholds, self._span_s(), inner, rows)
        parts = Group(*head, *drawn, *foot)
        yield Panel(parts, title=Text(self._title, "bold"), title_align="left", width=width)

    @property
    def _thresholds(self) -> Thresholds:
        is_decided = len(self._decisions) >= self._wanted_decisions
        at_s = self._decisions[-1].net_speech_s if is_decided else self._heard_s
        return Thresholds(*self._policy.thresholds(at_s))

    @property
    def _heard_s(self) -> float:
        return self._latest.net_speech_s if self._latest else 0.0

    def _head(self, width: int) -> Table:
        speech_s = self._latest.net_speech_s if self._latest else 0.0
        right = f"{speech_s:.1f} s of speech used"
        if self._latest is not None and self._latest.snr_db is not None and width > 70:
            right += f"   SNR {self._latest.snr_db:.0f} dB   {self._latest.channel}"
        head = Table.grid(expand=True)
        head.add_column(justify="left", no_wrap=True)
        head.add_column(justify="right", no_wrap=True)
        head.add_row(self._clock.line(), Text(right))
        return head

    def _score_lines(self, width: int) -> list[Text]:
        if self._latest is None:
            return [Text("listening for speech", "dim")]
        scores = self._latest.scores
        name_width = min(max(len(score.speaker) for score in scores), max(8, width // 5))
        return [self._score_line(score, name_width, width) for score in scores]

    def _key(self, width: int) -> Text:
        """What the numbers and the chart mean."""
        if self._latest is None:
            return Text()
        scores = self._latest.scores
        whom = scores[0].speaker if len(scores) == 1 else "the speaker"
        key = Text(f"LLR: + speaks for {whom}, - against", "dim")
        if key.cell_len > width:
            key = Text("LLR: + speaks for the speaker, - against", "dim")
        return key

    def _score_line(self, score: Score, name_width: int, width: int) -> Text:
        name = Text(score.speaker)
        name.truncate(name_width, overflow="ellipsis", pad=True)
        numbers = f"  LLR {score.llr:+6.2f}  cosine {score.cosine:+.3f}"
        bar = gauge(score.llr, self._thresholds, max(8, width - name_width - len(numbers) - 2))
        return Text.assemble(
            (name.plain, "bold"), "  ", bar, (numbers, self._thresholds.style_of(score.llr))
        )

    def _span_s(self) -> tuple[float, float]:
        if self._clock.duration_s is not None:
            return 0.0, max(self._clock.duration_s, 1.0)
        right = max(_SCROLLING_SPAN_S, self._clock.at_s)
        return right - _SCROLLING_SPAN_S, right

    def _verdict_lines(self) -> list[Text]:
        if not self._decisions:
            wait = "the score is between the thresholds"
            if self._heard_s < self._policy.first_look_s:
                wait = f"no verdict before {self._policy.first_look_s:.1f} s of speech"
            return [Text.assemble((" LISTENING ", "reverse"), "  ", (wait, "dim"))]
        return [
            Text.assemble(
                (f" {decision.verdict.value.upper()} ", _VERDICT_STYLES[decision.verdict]),
                "  ",
                words.of_decision_briefly(decision),
            )
            for decision in self._decisions
        ]


_FEEDBACK_GLYPHS = {Feedback.OK: ("✓", "green"), Feedback.NO_VOICE: ("·", "dim")}


class EnrollmentPicture:
    """An enrollment that fills up, with feedback on each stretch of it."""

    def __init__(
        self, title: str, wanted_net_speech_s: float, duration_s: float | None = None
    ) -> None:
        self._title = title
        self._wanted_s = wanted_net_speech_s
        self._clock = Clockwork(duration_s)
        self._progress: list[EnrollmentProgress] = []
        self._completed_s: float | None = None
        self._outcome: Text | None = None

    def pass_time(self, at_s: float) -> None:
        """The sound has come to ``at_s``."""
        self._clock.at_s = max(self._clock.at_s, at_s)

    def take(self, event: Event) -> None:
        """Add an event to the picture."""
        self._clock.take(event)
        match event:
            case EnrollmentProgress():
                self._progress.append(event)
            case EnrollmentCompleted():
                self._completed_s = event.net_speech_s
                done = f"a voiceprint from {event.net_speech_s:.1f} s of speech"
                self._outcome = Text.assemble((" DONE ", "bold black on green"), "  ", done)
            case EnrollmentRefused():
                # The error that follows says why, and what to do.
                usable = f"{event.net_speech_s:.1f} s of speech could be used"
                if event.reason is Refusal.INCONSISTENT and event.cohesion is not None:
                    usable = f"the recordings differ, cohesion {event.cohesion:.2f}"
                self._outcome = Text.assemble((" REFUSED ", "bold white on red"), "  ", usable)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The picture, as wide as the terminal allows."""
        width = min(options.max_width, _MAX_WIDTH)
        below = [self._clock.warning(), self._outcome]
        parts = Group(
            self._head(),
            self._bar(width - 4),
            *self._feedback(width - 4),
            *(line for line in below if line is not None),
        )
        yield Panel(parts, title=Text(self._title, "bold"), title_align="left", width=width)

    @property
    def _net_speech_s(self) -> float:
        if self._completed_s is not None:
            return self._completed_s
        return self._progress[-1].net_speech_s if self._progress else 0.0

    def _head(self) -> Table:
        head = Table.grid(expand=True)
        head.add_column(justify="left", no_wrap=True)
        head.add_column(justify="right", no_wrap=True)
        speech = f"{self._net_speech_s:.1f} s of speech ({self._wanted_s:g} s are enough)"
        head.add_row(self._clock.line(), Text(speech))
        return head

    def _bar(self, width: int) -> Text:
        filled = round(min(1.0, self._net_speech_s / self._wanted_s) * width)
        return Text("━" * filled, "green") + Text("─" * (width - filled), "dim")

    def _feedback(self, width: int) -> Sequence[Text]:
        if not self._progress:
            is_microphone = self._clock.duration_s is None
            return [Text("say anything" if is_microphone else "listening for speech", "dim")]
        strip = Text()
        for progress in self._progress[-(width // 4) :]:
            glyph, style = _FEEDBACK_GLYPHS.get(progress.feedback, ("!", "bold yellow"))
            strip.append(f"{glyph} ", style)
        strip.append(f" {words.FEEDBACK[self._progress[-1].feedback]}")
        return [strip]
