import base64
import dataclasses
import datetime
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamsv.errors import StoreError
from streamsv.voiceprints import CHANNELS, Consent, Voiceprint
from streamsv.voiceprints.document import MAX_FILE_BYTES, digest, seal, unseal

Make = Callable[..., Voiceprint]

quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def texts(max_size: int) -> st.SearchStrategy[str]:
    characters = st.characters(categories=["L", "M", "N", "P", "S"]) | st.just(" ")
    return st.text(characters, max_size=max_size).map(str.strip).filter(bool)


@st.composite
def voiceprints(draw: st.DrawFn) -> Voiceprint:
    times = st.datetimes(timezones=st.just(datetime.UTC)).map(datetime.datetime.isoformat)
    created_at, updated_at = sorted([draw(times), draw(times)], key=_time)
    embeddings = hnp.arrays(
        np.float32, st.integers(1, 64), elements={"allow_nan": False, "allow_infinity": False}
    )
    return Voiceprint(
        speaker=draw(texts(128).filter(lambda text: text not in (".", ".."))),
        embedding=draw(embeddings.filter(lambda embedding: embedding.any())),
        fingerprint=draw(texts(128)),
        net_speech_s=draw(st.floats(0, 1e9)),
        recordings=draw(st.integers(1, 1_000_000)),
        channel=draw(st.sampled_from(CHANNELS)),
        created_at=created_at,
        updated_at=updated_at,
        consent=draw(
            st.none() | st.builds(Consent, given_at=times, by=texts(256), purpose=texts(1024))
        ),
    )


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


@quick
@given(voiceprints())
def test_export_and_import_give_back_the_same_voiceprint_bit_for_bit(
    voiceprint: Voiceprint,
) -> None:
    data = voiceprint.to_bytes()
    back = Voiceprint.from_bytes(data)

    assert back == voiceprint
    assert back.embedding.tobytes() == voiceprint.embedding.tobytes()
    assert back.to_bytes() == data


@quick
@given(voiceprints(), st.data())
def test_any_changed_byte_is_noticed(voiceprint: Voiceprint, choose: st.DataObject) -> None:
    data = bytearray(voiceprint.to_bytes())
    data[choose.draw(st.integers(0, len(data) - 1))] ^= choose.draw(st.integers(1, 255))

    with pytest.raises(StoreError):
        Voiceprint.from_bytes(bytes(data))


def test_every_single_flipped_bit_and_every_cut_is_noticed(make: Make) -> None:
    data = make(dimension=4, consent=Consent("2025-01-31", "Zoë", "Banking")).to_bytes()

    for index in range(len(data)):
        with pytest.raises(StoreError):
            Voiceprint.from_bytes(data[:index])
        for bit in range(8):
            changed = bytearray(data)
            changed[index] ^= 1 << bit
            with pytest.raises(StoreError):
                Voiceprint.from_bytes(bytes(changed))


@quick
@given(st.binary())
def test_bytes_of_anything_else_are_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="not a voiceprint file"):
        Voiceprint.from_bytes(data)


@quick
@given(st.dictionaries(st.text(), json_values))
def test_sealed_content_that_is_no_voiceprint_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        Voiceprint.from_bytes(_sealed(content))


@quick
@given(
    st.sampled_from([each.name for each in dataclasses.fields(Voiceprint)]),
    json_values.filter(lambda value: not isinstance(value, str)),
)
def test_field_of_another_type_is_refused(make: Make, name: str, value: Any) -> None:
    content = unseal(make().to_bytes())
    allowed = (name, value) in [("consent", None)] or (
        name in ("net_speech_s", "recordings") and isinstance(value, int | float)
    )
    if not allowed:
        with pytest.raises(StoreError):
            Voiceprint.from_bytes(_sealed(content | {name: value}))


def _sealed(content: dict[str, Any]) -> bytes:
    try:
        return seal(content)
    except UnicodeEncodeError:  # hypothesis also writes lone surrogates
        return b""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"embedding": "AAAA"}, "fields of a voiceprint"),
        ({"embedding": "!"}, "fields of a voiceprint"),
        ({"embedding": base64.b64encode(b"\0" * 8).decode()}, "all zeros"),
        ({"speaker": "a\nb"}, "speaker must be printable"),
        ({"extra": 1}, "fields of a voiceprint"),
        ({"consent": {"by": "Alice"}}, "fields of a voiceprint"),
        ({"channel": "radio"}, "channel must be wideband or telephone"),
    ],
)
def test_sealed_content_with_a_wrong_field_says_so(
    make: Make, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StoreError, match=sentence):
        Voiceprint.from_bytes(seal(unseal(make().to_bytes()) | changes))


def test_file_is_json_that_any_program_reads(make: Make) -> None:
    voiceprint = make(speaker="Zoë", consent=Consent("2025-01-31", "Zoë", "Banking"))
    document = json.loads(voiceprint.to_bytes())

    assert list(document) == ["magic", "version", "content", "sha256"]
    assert document["magic"] == "streamsv-voiceprint"
    assert document["version"] == 1
    assert document["sha256"] == digest(document["content"]) == voiceprint.digest()
    embedding = np.frombuffer(base64.b64decode(document["content"]["embedding"]), "<f4")
    assert np.array_equal(embedding, voiceprint.embedding)
    assert document["content"]["speaker"] == "Zoë"
    assert document["content"]["consent"]["by"] == "Zoë"


VERSION_1 = """\
{
  "magic": "streamsv-voiceprint",
  "version": 1,
  "content": {
    "channel": "telephone",
    "consent": null,
    "created_at": "2025-01-31T09:30:00Z",
    "embedding": "mpkZP83MTL8=",
    "fingerprint": "model-a",
    "net_speech_s": 12.0,
    "recordings": 3,
    "speaker": "alice",
    "updated_at": "2025-01-31T09:30:00Z"
  },
  "sha256": "9ecafb888d47d900a3bd180540dc9b5b8330586051f1204082641d6f6a4cc134"
}
"""


def test_layout_of_version_1_stays_as_it_is() -> None:
    voiceprint = Voiceprint(
        speaker="alice",
        embedding=np.array([0.6, -0.8], dtype=np.float32),
        fingerprint="model-a",
        net_speech_s=12,
        recordings=3,
        channel="telephone",
        created_at="2025-01-31T09:30:00Z",
        updated_at="2025-01-31T09:30:00Z",
    )
    assert voiceprint.to_bytes().decode() == VERSION_1


@pytest.mark.parametrize("version", [0, -1, True, None, "1", 1.0])
def test_version_that_is_no_version_is_damage(make: Make, version: Any) -> None:
    document = json.loads(make().to_bytes()) | {"version": version}
    with pytest.raises(StoreError, match="damaged or was edited"):
        unseal(json.dumps(document).encode())


def test_newer_version_asks_for_an_upgrade(make: Make) -> None:
    document = json.loads(make().to_bytes()) | {"version": 2}
    with pytest.raises(StoreError, match=r"has version 2, .* reads version 1\. Upgrade streamsv"):
        unseal(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF\x24\x00\x00\x00WAVE",
        b"{}",
        b"[]",
        b"null",
        b'{"magic": "another", "version": 1}',
        b"[" * 100_000,
        b" " * (MAX_FILE_BYTES + 1),
        "{}".encode("utf-16"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_wrong_file_is_called_a_wrong_file(data: bytes) -> None:
    with pytest.raises(StoreError, match="not a voiceprint file"):
        Voiceprint.from_bytes(data)


def test_content_that_cannot_be_sealed_again_is_damage() -> None:
    # How deep a document may be to be read, and how deep to be written, depends on the stack.
    deep = ['{"a":' * depth + "1" + "}" * depth for depth in (*range(890, 1000, 6), 2000)]
    for content in ("null", "[]", r'{"speaker": "\ud800"}', *deep):
        data = f'{{"magic": "streamsv-voiceprint", "version": 1, "content": {content}}}'
        with pytest.raises(StoreError, match="damaged or was edited"):
            unseal(data.encode())


def test_edited_file_is_refused_even_where_nothing_of_value_changed(make: Make) -> None:
    data = make().to_bytes()
    for edited in (
        data + b"\n",
        data.replace(b"\n", b"\r\n"),
        json.dumps(json.loads(data)).encode(),
    ):
        with pytest.raises(StoreError, match="damaged or was edited"):
            Voiceprint.from_bytes(edited)


def test_error_about_a_damaged_file_shows_nothing_of_the_embedding(make: Make) -> None:
    voiceprint = make()
    data = voiceprint.to_bytes()
    encoded = json.loads(data)["content"]["embedding"]

    for edited in (data.replace(b"alice", b"mally"), data[:-20]):
        with pytest.raises(StoreError) as caught:
            Voiceprint.from_bytes(edited)
        assert encoded[:8] not in str(caught.value.to_dict())
