"""Audio is found between other frames, however the bytes are cut; the rest is left as it came."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from streamsv.server.frames import FrameSplitter

MOST = 16_384

DATA = st.binary(max_size=300) | st.sampled_from([125, 126, 65_535, 65_536, MOST, MOST + 1]).map(
    bytes
)
CONTROL = st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE])
WHOLE = st.builds(Frame, st.sampled_from([Opcode.BINARY, Opcode.TEXT]), DATA).map(lambda f: [f])
PING = st.builds(Frame, CONTROL, st.binary(max_size=125)).map(lambda f: [f])


@st.composite
def fragments(draw: st.DrawFn) -> list[Frame]:
    """A message in pieces, with control frames between them."""
    opcode = draw(st.sampled_from([Opcode.BINARY, Opcode.TEXT]))
    pieces = draw(st.lists(DATA, min_size=2, max_size=4))
    found: list[Frame] = []
    for n, piece in enumerate(pieces):
        found.append(Frame(Opcode.CONT if n else opcode, piece, fin=n == len(pieces) - 1))
        found += draw(PING | st.just([]))
    return found


MESSAGES = st.lists(WHOLE | PING | fragments(), max_size=8).map(
    lambda messages: list(itertools.chain(*messages))
)


def joined(parts: list[tuple[bytes, bool]]) -> list[tuple[bytes, bool]]:
    """Neighbors for the parser as one."""
    found: list[tuple[bytes, bool]] = []
    for part, is_audio in parts:
        if found and not is_audio and not found[-1][1]:
            found[-1] = (found[-1][0] + part, False)
        elif part or is_audio:
            found.append((part, is_audio))
    return found


@given(MESSAGES, st.lists(st.integers(1, 400), min_size=1), st.booleans())
def test_whatever_is_no_plain_audio_goes_to_the_parser_untouched(
    frames: list[Frame], cuts: list[int], takes_audio: bool
) -> None:
    wanted, wire = [], b""
    is_fragmented = False
    for frame in frames:
        raw = frame.serialize(mask=True)
        wire += raw
        is_plain = frame.opcode is Opcode.BINARY and frame.fin and not is_fragmented
        if frame.opcode in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
            is_fragmented = not frame.fin
        if takes_audio and is_plain and len(frame.data) <= MOST:
            wanted.append((bytes(frame.data), True))
        else:
            wanted.append((raw, False))
    splitter = FrameSplitter(262_144)
    found: list[tuple[bytes, bool]] = []
    at = n = 0
    while at < len(wire):
        size = cuts[n % len(cuts)] if n < 500 else len(wire)
        found += splitter.split(wire[at : at + size], takes_audio)
        at, n = at + size, n + 1
    assert joined(found) == joined(wanted)


@pytest.mark.parametrize(
    "bad",
    [
        Frame(Opcode.BINARY, b"unmasked").serialize(mask=False),
        b"\x83\x85" + bytes(9),  # an opcode that is none
        b"\xc2\x85" + bytes(9),  # a reserved bit
        b"\x82\xff" + (1 << 62).to_bytes(8) + bytes(4),  # larger than anything
    ],
)
def test_what_is_against_the_protocol_goes_to_the_parser(bad: bytes) -> None:
    splitter = FrameSplitter(262_144)
    found = [*splitter.split(Frame(Opcode.BINARY, b"good").serialize(mask=True) + bad, True)]
    assert found == [(b"good", True), (bad, False)]


def test_no_message_is_larger_than_allowed() -> None:
    splitter = FrameSplitter(100)
    raw = Frame(Opcode.BINARY, bytes(101)).serialize(mask=True)
    assert [*splitter.split(raw, True)] == [(raw, False)]
