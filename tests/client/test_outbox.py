"""Sound that is kept until it has arrived: nothing twice, nothing missing, or marked as a gap."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.audio import AudioFormat
from streamsv.client.outbox import Gap, Outbox
from streamsv.errors import ProtocolError

FORMAT = AudioFormat("s16le", 8000)


def numbered(start: int, count: int) -> bytes:
    """Samples that say their own position."""
    return b"".join((n % 60_000).to_bytes(2, "little") for n in range(start, start + count))


def taken(outbox: Outbox, most_bytes: int = 1000) -> list[bytes | Gap]:
    found = []
    while (content := outbox.take(most_bytes)) is not None:
        found.append(content)
    return found


def joined(contents: list[bytes | Gap]) -> bytes:
    """Everything on the time line, gaps as zeros."""
    return b"".join(c if isinstance(c, bytes) else bytes(2 * c.samples) for c in contents)


@given(
    cuts=st.lists(st.integers(0, 4000), max_size=8),
    most=st.integers(2, 5000),
    received=st.integers(0, 3000),
)
def test_what_the_server_lacks_is_sent_again_and_nothing_else(cuts, most, received) -> None:
    outbox, sound = Outbox(FORMAT, 60.0), numbered(0, 3000)
    edges = [0, *sorted(min(cut, len(sound)) for cut in cuts), len(sound)]
    for left, right in itertools.pairwise(edges):
        outbox.put(sound[left:right])
    assert joined(taken(outbox, most)) == sound
    outbox.resume(received)
    assert joined(taken(outbox, most)) == sound[2 * received :]


@given(
    pieces=st.lists(st.one_of(st.integers(1, 900), st.floats(0, 300).map(lambda ms: -ms))),
    share=st.floats(0, 1),
)
def test_after_any_drop_the_time_line_is_whole(pieces, share) -> None:
    outbox, position, line = Outbox(FORMAT, 60.0), 0, b""
    for piece in pieces:
        if piece > 0:
            outbox.put(sound := numbered(position, int(piece)))
        else:
            outbox.put_gap(-piece)
            sound = bytes(2 * round(-piece * 8))
        line += sound
        position += len(sound) // 2
    assert outbox.end == position
    assert joined(taken(outbox)) == line
    received = int(share * position)
    outbox.resume(received)
    assert joined(taken(outbox)) == line[2 * received :]


def test_what_is_no_longer_kept_becomes_a_gap_of_its_length() -> None:
    outbox = Outbox(FORMAT, kept_s=1.0, is_live=True)
    for start in range(0, 24_000, 800):
        outbox.put(numbered(start, 800))
    first, *rest = taken(outbox)
    assert isinstance(first, Gap)
    assert (first.samples, first.ms) == (16_000, 2000.0)
    assert joined(rest) == numbered(16_000, 8_000)


@given(kept_s=st.floats(0.05, 2.0), received=st.integers(0, 40_000))
def test_a_gap_and_the_sound_after_it_always_reach_the_end(kept_s, received) -> None:
    outbox = Outbox(FORMAT, kept_s, is_live=True)
    for start in range(0, 40_000, 160):
        outbox.put(numbered(start, 160))
    outbox.take(64)
    outbox.resume(received)
    lengths = [c.samples if isinstance(c, Gap) else len(c) // 2 for c in taken(outbox)]
    assert sum(lengths) == 40_000 - received
    assert outbox.sent == outbox.end == 40_000


@given(ms=st.floats(0.2, 5000), rate=st.integers(8000, 48_000))
def test_the_length_of_a_lost_stretch_is_told_to_the_sample(ms, rate) -> None:
    outbox = Outbox(AudioFormat("mulaw", rate), 0.001, is_live=True)
    outbox.put(bytes(round(ms * rate / 1000) or 1))
    outbox.put(bytes(4800))
    gap = outbox.take(10)
    assert isinstance(gap, Gap)
    assert round(gap.ms * rate / 1000) == gap.samples


def test_a_cut_sample_waits_for_its_rest_and_is_lost_at_a_gap() -> None:
    outbox = Outbox(FORMAT, 60.0)
    outbox.put(b"\1")
    assert outbox.take(10) is None
    outbox.put(b"\2\3")
    assert outbox.take(10) == b"\1\2"
    outbox.put_gap(100)
    outbox.put(b"\4\5")
    assert taken(outbox) == [Gap(100, 800), b"\4\5"]


def test_what_is_acknowledged_counts_only_once_and_only_what_was_sent() -> None:
    outbox = Outbox(FORMAT, 60.0)
    outbox.put(bytes(2000))
    assert outbox.waiting == 1000
    outbox.acknowledge(700)
    assert outbox.waiting == 1000
    taken(outbox)
    outbox.acknowledge(700)
    outbox.acknowledge(600)
    assert outbox.waiting == 300


def test_a_server_that_claims_more_than_was_sent_is_refused() -> None:
    outbox = Outbox(FORMAT, 60.0)
    outbox.put(bytes(200))
    with pytest.raises(ProtocolError, match="another session"):
        outbox.resume(101)


@given(gaps_s=st.lists(st.floats(0.5, 400), min_size=1, max_size=4), sent=st.integers(0, 80_000))
def test_a_gap_of_any_length_pushes_out_no_sound(gaps_s, sent) -> None:
    outbox, sound = Outbox(FORMAT, kept_s=10.0), numbered(0, 80_000)
    outbox.put(sound)
    outbox.take(2 * sent)
    for seconds in gaps_s:
        outbox.put_gap(1000 * seconds)
        outbox.put(numbered(outbox.end, 800))
    outbox.resume(0)
    kept = b"".join(content for content in taken(outbox) if isinstance(content, bytes))
    assert kept[: len(sound)] == sound


def test_gaps_without_sound_between_them_are_kept_as_one() -> None:
    outbox = Outbox(FORMAT, 60.0)
    outbox.put(b"\1\2")
    for _ in range(1000):
        outbox.put_gap(20)
    assert taken(outbox) == [b"\1\2", Gap(20_000.0, 160_000)]
    outbox.put_gap(20)
    assert taken(outbox) == [Gap(20.0, 160)]
    outbox.resume(81)
    assert taken(outbox) == [Gap(20_010.0, 160_080)]


def test_a_source_that_can_wait_loses_nothing_however_much_it_gives_at_a_time() -> None:
    outbox, sound = Outbox(FORMAT, kept_s=1.0), numbered(0, 40_000)
    outbox.put(sound[:32_000])
    sent = [outbox.take(8000), outbox.take(8000)]
    outbox.put(sound[32_000:])
    assert joined([*sent, *taken(outbox)]) == sound
    outbox.resume(5000)
    assert joined(taken(outbox)) == sound[10_000:]
    outbox.acknowledge(40_000)
    outbox.put(bytes(2 * 8000))
    assert outbox.start == 40_000  # what has arrived is kept no longer than kept_s
