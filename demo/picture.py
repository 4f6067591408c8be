"""Draw the README's picture: what ``streamsv demo`` shows at the end of two of its calls.

The calls are streamed through the real engine and drawn by the program's own renderer; nothing
is drawn by hand.
"""

from __future__ import annotations

import io
import re
from importlib.resources import as_file, files
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

import streamsv
from streamsv.cli.render import VerificationPicture

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.svg"
COLUMNS = 92


def read(name: str, until_s: float | None = None) -> bytes:
    """A bundled clip as s16le, 16 kHz: the format that sessions take by default."""
    with (
        as_file(files("streamsv.clips") / f"{name}.opus") as path,
        streamsv.AudioFile(path) as clip,
    ):
        pcm = b"".join((block * 32767).astype("<i2").tobytes() for block in clip)
    return pcm if until_s is None else pcm[: round(until_s * 16_000) * 2]


def enrolled(engine: streamsv.Engine) -> streamsv.Voiceprint:
    """The voiceprint of the demo's first voice."""
    enrollment = engine.enroll("voice A")
    enrollment.push(read("voice_a_enroll"))
    enrollment.finish()
    return enrollment.voiceprint(created_at="2026-01-01T00:00:00+00:00")


def call(
    engine: streamsv.Engine,
    voiceprint: streamsv.Voiceprint,
    title: str,
    pcm: bytes,
    changes_at_s: float | None = None,
) -> VerificationPicture:
    """The picture of one call, at its end."""
    picture = VerificationPicture(title, engine.config.decision, len(pcm) / 32_000)
    if changes_at_s is not None:
        picture.mark(changes_at_s, "voice changes")
    session = engine.verify(voiceprint)
    for event in [*session.push(pcm), *session.finish()]:
        picture.take(event)
    return picture


def main() -> None:
    """Stream the calls and write the picture."""
    engine = streamsv.Engine.load()
    voiceprint = enrolled(engine)
    console = Console(
        record=True, width=COLUMNS, height=30, file=io.StringIO(), force_terminal=True
    )
    console.print(call(engine, voiceprint, "A call by somebody else", read("voice_b_call")))
    both = read("voice_a_call", 13.0) + read("voice_c_call")
    console.print(call(engine, voiceprint, "A call in which the voice changes", both, 13.0))
    svg = console.export_svg(title="streamsv demo", theme=MONOKAI)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
