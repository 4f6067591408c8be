"""Draw the README's picture: what ``streamsv demo`` shows at the end of two of its calls.

The demo's own scenes are played, and drawn by the program's own renderer; nothing is drawn by hand.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.terminal_theme import MONOKAI

import streamsv
from streamsv.cli.demo import Stage, quick_engine
from streamsv.cli.screens import Picture
from streamsv.events import Event

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.svg"
COLUMNS = 92

BLOCKS = {"▁": (7, 8), "▂": (6, 8), "▃": (5, 8), "▄": (4, 8), "▅": (3, 8), "▆": (2, 8)} | {
    "▇": (1, 8),
    "█": (0, 8),
    "▀": (0, 4),
    "▔": (0, 1),
}
"""The eighths of a cell, from its top, between which a block character is filled."""

FONT_HEIGHT, LINE_HEIGHT, CHARACTER_WIDTH, TOP = 20.0, 24.4, 12.2, 1.5
"""Of the pictures that Rich draws: a line's background begins ``TOP`` below its place."""


class Kept:
    """A screen that keeps its picture as it is at the end."""

    is_live = False

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def show(self, events: Iterable[Event], at_s: float | None = None) -> None:
        """Add the events to the picture."""
        for event in events:
            self.picture.take(event)
        if at_s is not None:
            self.picture.pass_time(at_s)


def played(engine: streamsv.Engine) -> list[Picture]:
    """The pictures of the calls by somebody else and by two voices, each at its end."""
    kept: list[Kept] = []

    def keep(picture: Picture, title: str, as_json: bool) -> Kept:
        del title, as_json
        kept.append(Kept(picture))
        return kept[-1]

    stage = Stage(engine, 0.0, False, keep)
    stage.enroll()
    stage.other_voice()
    stage.changing_voice()
    return [each.picture for each in kept[1:]]


def as_shapes(text: re.Match[str]) -> str:
    """A text of block characters as rectangles: fonts leave seams between the lines."""
    style, x, baseline, characters = text[1], float(text[2]), float(text[3]), text[4]
    top = baseline - FONT_HEIGHT + TOP
    shapes = []
    for glyph, group in itertools.groupby(characters):
        width = CHARACTER_WIDTH * len(list(group))
        begin, end = (LINE_HEIGHT * eighth / 8 for eighth in BLOCKS[glyph])
        shapes.append(
            f'<rect class="{style}" x="{x:g}" y="{top + begin:g}" width="{width:g}" '
            f'height="{end - begin:g}" shape-rendering="crispEdges"/>'
        )
        x = round(x + width, 1)
    return "".join(shapes)


def svg_of(pictures: Iterable[Picture]) -> str:
    """The pictures one below the other, without a font of their own."""
    console = Console(
        record=True, width=COLUMNS, height=30, file=io.StringIO(), force_terminal=True
    )
    for picture in pictures:
        console.print(picture)
    svg = console.export_svg(title="streamsv demo", theme=MONOKAI)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    blocks = "".join(BLOCKS)
    svg = re.sub(
        rf'<text class="([^"]+)" x="([\d.]+)" y="([\d.]+)"[^>]*>([{blocks}]+)</text>',
        as_shapes,
        svg,
    )
    return svg.replace("<text ", '<text xml:space="preserve" ')


def main(path: Path) -> None:
    """Play the scenes and write the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg_of(played(quick_engine())), encoding="utf-8")
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
