import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamsv.errors import ConfigError, ModelMismatch
from streamsv.voiceprints import Consent, Voiceprint, check_speaker

Make = Callable[..., Voiceprint]

CONSENT = Consent("2025-01-31", "Alice Example", "Telephone banking")


@settings(deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.integers(1, 300),
        elements={"allow_nan": False, "allow_infinity": False},
    ).filter(lambda embedding: embedding.any())
)
def test_any_embedding_is_kept_at_unit_length_and_its_bits_are_stable(
    make: Make, embedding: np.ndarray
) -> None:
    voiceprint = make(embedding=embedding)

    assert voiceprint.embedding.dtype == np.float32
    assert voiceprint.embedding.shape == embedding.shape
    assert np.linalg.norm(voiceprint.embedding.astype(np.float64)) == pytest.approx(1, abs=1e-6)
    again = make(embedding=voiceprint.embedding)
    assert again.embedding.tobytes() == voiceprint.embedding.tobytes()


def test_normalization_keeps_the_direction(make: Make) -> None:
    voiceprint = make(embedding=np.array([3.0, 0.0, -4.0]))

    assert voiceprint.embedding == pytest.approx([0.6, 0.0, -0.8])
    assert voiceprint.dimension == 3


def test_embedding_is_a_copy_that_nobody_can_write(make: Make) -> None:
    source = np.array([1.0, 0.0], dtype=np.float32)
    voiceprint = make(embedding=source)
    source[0] = 5

    assert voiceprint.embedding.tolist() == [1, 0]
    for each in (voiceprint, copy.deepcopy(voiceprint), pickle.loads(pickle.dumps(voiceprint))):
        assert each == voiceprint
        with pytest.raises(ValueError, match="read-only"):
            each.embedding[0] = 2
        with pytest.raises(ValueError, match="WRITEABLE"):
            each.embedding.setflags(write=True)
    with pytest.raises(AttributeError):
        voiceprint.speaker = "bob"  # type: ignore[misc]


@pytest.mark.parametrize(
    "embedding",
    [
        np.zeros(8),
        np.array([1.0, np.nan]),
        np.array([1.0, np.inf]),
        np.ones((2, 3)),
        np.float32(1),
        np.array([]),
        np.ones(8193),
        np.array([1j, 0]),
        np.array([True, False]),
        np.array(["a"]),
        [[1.0], [1.0, 2.0]],
        None,
    ],
    ids=str,
)
def test_what_has_no_direction_is_no_embedding(make: Make, embedding: Any) -> None:
    with pytest.raises(ConfigError, match="The embedding"):
        make(embedding=embedding)


@pytest.mark.parametrize(
    "speaker",
    [
        "",
        " ",
        " alice",
        "alice ",
        "a\nb",
        "a\x00b",
        "a\x7f",
        "a\u202eb",
        "\ud800",
        "a" * 129,
        7,
        ".",
        "..",
    ],
)
def test_speaker_id_must_be_short_and_printable(make: Make, speaker: Any) -> None:
    with pytest.raises(ConfigError, match="speaker must be"):
        make(speaker=speaker)
    with pytest.raises(ConfigError, match="speaker must be"):
        check_speaker(speaker)


@pytest.mark.parametrize(
    "speaker", ["a", "...", ".a", "Ana María", "客户-42", "a@b.example/x#1", "a" * 128]
)
def test_speaker_id_may_be_in_any_script(make: Make, speaker: str) -> None:
    assert make(speaker=speaker).speaker == speaker


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fingerprint", ""),
        ("fingerprint", "a\tb"),
        ("fingerprint", None),
        ("net_speech_s", -0.1),
        ("net_speech_s", float("nan")),
        ("net_speech_s", float("inf")),
        ("net_speech_s", 10**400),
        ("net_speech_s", True),
        ("net_speech_s", "12"),
        ("recordings", 0),
        ("recordings", 2.0),
        ("recordings", True),
        ("recordings", 2**70),
        ("channel", "radio"),
        ("channel", None),
        ("created_at", "yesterday"),
        ("created_at", "2025-01-31T09:30:00"),
        ("created_at", "2025-01-31T09:30:00+01:00"),
        ("created_at", 1738315800),
        ("updated_at", "2025-01-31T09:29:59Z"),
        ("consent", {"by": "Alice"}),
    ],
)
def test_field_that_is_not_allowed_is_named(make: Make, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        make(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("given_at", "soon"), ("by", ""), ("purpose", "a\nb"), ("purpose", "a" * 1025), ("by", None)],
)
def test_consent_says_when_by_whom_and_for_what(name: str, value: Any) -> None:
    fields = {"given_at": "2025-01-31T09:30:00+01:00", "by": "Alice", "purpose": "Banking"}
    assert Consent(**fields).by == "Alice"
    with pytest.raises(ConfigError, match=f"consent.{name}"):
        Consent(**(fields | {name: value}))


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"speaker": "bob"},
        {"fingerprint": "model-b"},
        {"net_speech_s": 1.0},
        {"recordings": 1},
        {"channel": "telephone"},
        {"created_at": "2025-01-30T09:30:00Z"},
        {"updated_at": "2025-02-02T10:00:00Z"},
        {"consent": CONSENT},
        {"dimension": 8},
    ],
    ids=str,
)
def test_voiceprints_are_equal_by_value(make: Make, other: dict[str, Any]) -> None:
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make(**other) != make()
    assert make(**other).digest() != make().digest()
    assert make() != "alice"


def test_embedding_appears_in_no_repr(make: Make) -> None:
    voiceprint = make(embedding=np.full(4, 0.5), consent=CONSENT)

    for text in (repr(voiceprint), str(voiceprint), repr([voiceprint]), repr(voiceprint.summary())):
        assert "alice" in text
        assert "0.5" not in text
        assert "embedding" not in text


def test_voiceprint_of_another_model_says_which_and_what_to_do(make: Make) -> None:
    voiceprint = make(fingerprint="model-a")
    voiceprint.check_fingerprint("model-a")

    with pytest.raises(ModelMismatch) as caught:
        voiceprint.check_fingerprint("model-b")
    assert caught.value.value == "model-a"
    for part in ("'alice'", "made by the model model-a", "loaded model is model-b", "Enroll"):
        assert part in caught.value.message
    assert "load the model with the fingerprint model-a" in caught.value.message
