"""Reading evaluation sets, and what is refused in them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import EvaluationSetError
from streamsv.evaluation.sets import STREAM_COLUMNS, TRIAL_COLUMNS, Stream, Trial, load_set

STREAMS = [
    "\t".join(STREAM_COLUMNS),
    "ann_1\taudio/ann_1.opus\tann\ts1\t8000\t12.5\tf\ttelephone",
    "ann_2\taudio/ann_2.opus\tann\ts2\t8000\t9\tf\ttelephone",
    "ann_3\taudio/ann_3.opus\tann\ts3\t16000\t9\tf\twideband",
    "bob_1\taudio/bob_1.opus\tbob\ts1\t16000\t4.25\t\twideband",
]
TRIALS = [
    "\t".join(TRIAL_COLUMNS),
    "ann_1,ann_2\tann_3\t1",
    "ann_1\tbob_1\t0",
]


def write(folder: Path, streams: Sequence[str] = STREAMS, trials: Sequence[str] = TRIALS) -> Path:
    """The two tables as given, and an empty file for every recording."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for name in ("ann_1", "ann_2", "ann_3", "bob_1"):
        (folder / "audio" / f"{name}.opus").touch()
    (folder / "streams.tsv").write_text("\n".join(streams) + "\n", encoding="utf-8")
    (folder / "trials.tsv").write_text("\n".join(trials) + "\n", encoding="utf-8")
    return folder


def test_a_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = write(tmp_path / "calls")
    loaded = load_set(folder)
    assert (loaded.name, loaded.folder) == ("calls", folder)
    assert list(loaded.streams) == ["ann_1", "ann_2", "ann_3", "bob_1"]
    assert loaded.streams["bob_1"] == Stream(
        "bob_1", folder / "audio" / "bob_1.opus", "bob", "s1", 16000, 4.25, None, "wideband"
    )
    assert loaded.trials == (
        Trial(("ann_1", "ann_2"), "ann_3", is_target=True),
        Trial(("ann_1",), "bob_1", is_target=False),
    )


def test_column_order_more_columns_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    plain = load_set(write(tmp_path / "calls"))
    turned = ["note\t" + "\t".join(reversed(line.split("\t"))) for line in STREAMS]
    write(tmp_path / "calls", streams=turned)
    for name in ("streams.tsv", "trials.tsv"):
        path = tmp_path / "calls" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert load_set(tmp_path / "calls") == plain


def changed(lines: Sequence[str], number: int, column: str, value: str) -> list[str]:
    """``lines`` with another ``value`` in ``column`` of line ``number``, counted from 1."""
    fields = lines[number - 1].split("\t")
    fields[lines[0].split("\t").index(column)] = value
    return [*lines[: number - 1], "\t".join(fields), *lines[number:]]


@pytest.mark.parametrize(
    ("number", "column", "value", "expected"),
    [
        (1, "sex", "gender", "column 'sex' is missing; expected the columns stream, path"),
        (1, "sex", "speaker", "column 'speaker' is named twice"),
        (3, "stream", "", "stream is ''; expected a value"),
        (3, "stream", "ann_1", "stream is 'ann_1'; expected a name that no line above has"),
        (3, "stream", "a,b", "stream is 'a,b'; expected a name without a comma"),
        (3, "speaker", " ", "speaker is ' '; expected a value"),
        (4, "path", "../audio/ann_1.opus", "expected a path inside the folder"),
        (4, "path", "audio/../../x", "expected a path inside the folder"),
        (4, "path", "/etc/passwd", "expected a path inside the folder"),
        (4, "path", "audio\\ann_1.opus", "expected a path inside the folder"),
        (4, "path", "audio/none.opus", "path is 'audio/none.opus'; expected an audio file"),
        (4, "path", "audio", "path is 'audio'; expected an audio file"),
        (2, "sample_rate", "8k", "sample_rate is '8k'; expected a whole number of Hz"),
        (2, "sample_rate", "0", "sample_rate is '0'; expected a whole number of Hz"),
        (2, "sample_rate", "9" * 5000, "expected a whole number of Hz"),
        (2, "seconds", "", "seconds is ''; expected a number of seconds above 0"),
        (2, "seconds", "-1", "seconds is '-1'; expected a number of seconds above 0"),
        (2, "seconds", "nan", "seconds is 'nan'; expected a number of seconds above 0"),
        (5, "channel", "phone", "channel is 'phone'; expected wideband or telephone"),
        (5, "channel", "telephone\t1", "9 fields; expected 8"),
    ],
)
def test_a_wrong_stream_is_refused_by_file_line_and_value(
    tmp_path: Path, number: int, column: str, value: str, expected: str
) -> None:
    folder = write(tmp_path, streams=changed(STREAMS, number, column, value))
    with pytest.raises(EvaluationSetError) as refusal:
        load_set(folder)
    assert f"streams.tsv, line {number}: " in refusal.value.message
    assert expected in refusal.value.message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ann_1\tcarl\t0", "test is 'carl'; expected a stream of streams.tsv"),
        ("ann_1,\tbob_1\t0", "enroll is ''; expected a stream of streams.tsv"),
        ("ann_1,eve\tbob_1\t0", "enroll is 'eve'; expected a stream of streams.tsv"),
        ("ann_2,ann_2\tbob_1\t0", "enroll is 'ann_2,ann_2'; expected each stream once"),
        ("ann_1,ann_2\tann_2\t1", "test is 'ann_2'; expected a stream that is not among its own"),
        ("ann_1,bob_1\tann_2\t1", "expected streams of one speaker, not of ann and bob"),
        ("ann_1\tann_2\tyes", "target is 'yes'; expected 1 for the same person or 0"),
        ("ann_1\tann_2\t0", "target is '0'; expected 1: 'ann' is enrolled and 'ann' speaks"),
        ("bob_1\tann_2\t1", "target is '1'; expected 0: 'bob' is enrolled and 'ann' speaks"),
        ("ann_2,ann_1\tann_3\t1", "expected a trial that no line above has (test 'ann_3')"),
        ("ann_1\tann_2", "2 fields; expected 3"),
    ],
)
def test_a_wrong_trial_is_refused_by_file_line_and_value(
    tmp_path: Path, line: str, expected: str
) -> None:
    folder = write(tmp_path, trials=[*TRIALS, "", line])
    with pytest.raises(EvaluationSetError) as refusal:
        load_set(folder)
    assert "trials.tsv, line 5: " in refusal.value.message
    assert expected in refusal.value.message


def test_missing_and_unreadable_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationSetError, match=r"streams\.tsv is missing"):
        load_set(tmp_path)
    folder = write(tmp_path)
    (folder / "trials.tsv").unlink()
    with pytest.raises(EvaluationSetError, match=r"trials\.tsv is missing"):
        load_set(folder)
    (folder / "trials.tsv").write_bytes(b"enroll\ttest\ttarget\n\xff\n")
    with pytest.raises(EvaluationSetError, match="cannot be read as UTF-8"):
        load_set(folder)
    write(folder, trials=TRIALS[:1])
    with pytest.raises(EvaluationSetError, match="no lines below its header"):
        load_set(folder)


words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
recordings = st.lists(
    st.tuples(
        words,
        st.sampled_from(["ann", "bob", "zoë"]),
        st.integers(8000, 48000),
        st.floats(0.1, 600),
        st.sampled_from([None, "f", "m"]),
        st.sampled_from(["wideband", "telephone"]),
    ),
    min_size=2,
    max_size=8,
    unique_by=lambda recording: recording[0],
)


@given(recordings)
def test_every_set_survives_writing_and_reading(
    made: list[tuple[str, str, int, float, str | None, str]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        streams = {
            stream: Stream(
                stream, folder / f"{index}.opus", speaker, "s", rate, seconds, sex, channel
            )
            for index, (stream, speaker, rate, seconds, sex, channel) in enumerate(made)
        }
        trials = tuple(
            Trial((a,), b, streams[a].speaker == streams[b].speaker)
            for a in streams
            for b in streams
            if a != b
        )
        rows = [
            (
                s.name,
                s.path.name,
                s.speaker,
                s.session,
                s.sample_rate,
                s.seconds,
                s.sex or "",
                s.channel,
            )
            for s in streams.values()
        ]
        for stream in streams.values():
            stream.path.touch()
        write(
            folder,
            [STREAMS[0], *("\t".join(map(str, row)) for row in rows)],
            [TRIALS[0], *(f"{','.join(t.enroll)}\t{t.test}\t{t.is_target:d}" for t in trials)],
        )
        loaded = load_set(folder)
        assert loaded.streams == streams
        assert loaded.trials == trials
