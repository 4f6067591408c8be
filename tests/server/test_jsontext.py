"""JSON from strangers is one bounded object, or a named error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import ProtocolError
from streamsv.server.jsontext import parse_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_json_writes_is_read_back(fields: dict[str, object]) -> None:
    text = json.dumps(fields)
    assert parse_object(text, 10**6, "It", max_depth=100) == fields
    assert parse_object(text.encode(), 10**6, "It", max_depth=100) == fields


@given(st.text() | st.binary())
def test_whatever_comes_is_an_object_or_a_named_error(text: str | bytes) -> None:
    try:
        found: object = parse_object(text, 1000, "It")
    except ProtocolError as error:
        found = {"message": error.message}
    assert isinstance(found, dict)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "{",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        '{"a": ' + "9" * 65 + "}",
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a":' * 9 + "1" + "}" * 9,
        "[" * 100_000,
        b'{"a": "\xff"}',
        '{"a": "' + "x" * 1000 + '"}',
        "",
    ],
)
def test_what_readers_could_differ_about_is_refused(text: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_object(text, 1000 if len(text) < 50_000 else 10**6, "It")


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    assert parse_object('{"a": "[[[[[[[[[[\\"[[[[[["}', 1000, "It")
