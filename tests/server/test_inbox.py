"""The inbox keeps order, stays bounded, and never loses audio silently."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamsv.audio import AudioFormat
from streamsv.server.inbox import Audio, End, Gap, Inbox

MULAW = AudioFormat("mulaw", 8000)
PUTS = st.lists(
    st.one_of(
        st.tuples(st.just("audio"), st.integers(1, 12_000)),
        st.tuples(st.just("gap"), st.integers(1, 5000)),
        st.tuples(st.just("take"), st.just(0)),
    ),
    max_size=60,
)


def drained(inbox: Inbox) -> list[Audio | Gap | End]:
    found = []
    while (item := inbox.take()) is not None:
        found.append(item)
    return found


def frames_of(items: list[Audio | Gap | End]) -> int:
    return sum(
        len(item.data) if isinstance(item, Audio) else item.frames
        for item in items
        if not isinstance(item, End)
    )


@given(puts=PUTS, is_real_time=st.booleans())
def test_every_frame_comes_out_as_audio_or_as_a_gap(
    puts: list[tuple[str, int]], is_real_time: bool
) -> None:
    inbox = Inbox(MULAW, 1.0, is_real_time)
    came, taken = 0, []
    for what, size in puts:
        if what == "audio":
            inbox.put_audio(bytes(size), 0.0)
            came += size
        elif what == "gap":
            inbox.put_gap(size)
            came += size
        elif (item := inbox.take()) is not None:
            taken.append(item)
    inbox.put_end()
    taken += drained(inbox)
    assert frames_of(taken) == came
    assert isinstance(taken[-1], End)


def test_a_real_time_inbox_drops_the_oldest_and_says_how_much() -> None:
    inbox = Inbox(MULAW, 1.0, is_real_time=True)
    for n in range(60):
        assert inbox.put_audio(bytes([n]) * 160, 0.0)
    gap, *rest = drained(inbox)
    assert isinstance(gap, Gap)
    assert gap.is_shed
    kept = b"".join(bytes(item.data) for item in rest if isinstance(item, Audio))
    assert kept == b"".join(bytes([n]) * 160 for n in range(60))[gap.frames :]
    assert len(kept) <= 8000


def test_a_patient_inbox_asks_to_wait_and_says_when_to_go_on() -> None:
    inbox = Inbox(MULAW, 1.0)
    assert inbox.put_audio(bytes(8000), 0.0)
    assert not inbox.put_audio(bytes(1), 0.0)
    assert not inbox.is_awaited
    drained(inbox)
    assert inbox.is_awaited
    assert inbox.resume()
    assert not inbox.resume()


def test_what_nobody_reads_any_more_is_let_go() -> None:
    inbox = Inbox(AudioFormat("mulaw", 8000), 1.0)
    while inbox.put_audio(b"\xff" * 160, 0.0):
        pass
    inbox.put_gap(5)
    inbox.discard()
    assert inbox.take() is None
    inbox.put_end()
    assert inbox.take() is None


def test_a_flood_of_gaps_is_bounded_too() -> None:
    inbox = Inbox(MULAW, 1.0)
    assert not all(inbox.put_gap(1) for _ in range(2000))
    hurried = Inbox(MULAW, 1.0, is_real_time=True)
    for _ in range(5000):
        hurried.put_gap(1)
    assert len(found := drained(hurried)) <= 1100
    assert frames_of(found) == 5000


def test_the_time_of_reading_is_that_of_the_first_frame() -> None:
    inbox = Inbox(MULAW, 4.0)
    inbox.put_audio(bytes(160), 1.0)
    inbox.put_audio(bytes(160), 2.0)
    item = inbox.take()
    assert isinstance(item, Audio)
    assert (len(item.data), item.read_at) == (320, 1.0)
