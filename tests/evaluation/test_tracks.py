"""Tracks are what sessions hear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsv.engine import Engine
from streamsv.errors import ConfigError
from streamsv.evaluation.material import voiceprint_of
from streamsv.evaluation.streaming import stream_set
from streamsv.evaluation.tracks import Recording, TrackReader


@pytest.mark.parametrize("channel", [None, "telephone"])
def test_cosines_of_tracks_are_those_of_real_sessions(
    engine: Engine, tiny_set: Any, channel: str | None
) -> None:
    streamed = stream_set(engine, tiny_set, (1.0,), channel)
    recordings = {
        name: Recording((stream.path,), channel) for name, stream in tiny_set.streams.items()
    }
    tracks = TrackReader(engine.encoder).read(list(recordings.values()))
    for point in (1.0, None):
        assert streamed.at(point)
        for scored in streamed.at(point):
            parts = [tracks[recordings[name]] for name in scored.trial.enroll]
            embedding, seconds = voiceprint_of(parts, None)
            assert seconds == pytest.approx(streamed.enrollments[scored.trial.enroll].net_speech_s)
            test = tracks[recordings[scored.trial.test]]
            hop = test.hops - 1 if point is None else test.hop_at(point)
            assert float(test.embeddings[hop] @ embedding) == pytest.approx(
                scored.score.cosine, abs=1e-4
            )


def test_joined_recordings_begin_like_the_first_and_end_in_time(
    engine: Engine, tiny_set: Any
) -> None:
    first, second = (tiny_set.streams[name].path for name in ("b1", "bt"))
    alone, call = Recording((first,)), Recording((first, second), None, 5.0)
    tracks = TrackReader(engine.encoder).read([alone, call])
    same = tracks[alone].hops - 2
    np.testing.assert_allclose(
        tracks[call].embeddings[:same], tracks[alone].embeddings[:same], atol=1e-5
    )
    assert tracks[alone].hops < tracks[call].hops <= 63


def test_a_cache_gives_the_same_back_without_hearing_again(
    engine: Engine, tiny_set: Any, tmp_path: Path
) -> None:
    recording = Recording((tiny_set.streams["at"].path,))
    heard: list[str] = []
    for _ in range(2):
        reader = TrackReader(
            engine.encoder, None, tmp_path, lambda _done, _all, name: heard.append(name)
        )
        track = reader.read([recording])[recording]
    assert heard == ["at.wav"]
    fresh = TrackReader(engine.encoder).read([recording])[recording]
    np.testing.assert_array_equal(track.embeddings, fresh.embeddings)
    np.testing.assert_array_equal(track.snr_db, fresh.snr_db)
    assert (track.channel, track.hop_s) == ("wideband", 0.08)


@pytest.mark.parametrize("damage", ["cut short", "emptied", "something else"])
def test_a_damaged_cache_is_heard_again_and_mended(
    engine: Engine, tiny_set: Any, tmp_path: Path, damage: str
) -> None:
    recording = Recording((tiny_set.streams["bt"].path,))
    reader = TrackReader(engine.encoder, None, tmp_path)
    whole = reader.read([recording])[recording]
    (kept,) = tmp_path.iterdir()
    content = kept.read_bytes()
    damaged = {"cut short": content[: len(content) // 2], "emptied": b""}
    kept.write_bytes(damaged.get(damage, b"not an archive"))
    again = reader.read([recording])[recording]
    np.testing.assert_array_equal(again.embeddings, whole.embeddings)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [content]


def test_a_cache_that_cannot_be_written_is_a_named_error_before_hearing(
    engine: Engine, tiny_set: Any, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, not a folder")
    heard: list[str] = []
    reader = TrackReader(engine.encoder, None, taken, lambda _done, _all, name: heard.append(name))
    with pytest.raises(ConfigError, match=r"Nothing can be kept in .*taken"):
        reader.read([Recording((tiny_set.streams["bt"].path,))])
    assert heard == []
