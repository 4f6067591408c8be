"""Bytes become the right samples, however they are cut, or a sentence that says what is wrong."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsv.audio import (
    AudioFormat,
    Decoder,
    Encoding,
    encode_alaw,
    encode_mulaw,
    encode_s16le,
)
from streamsv.errors import UnsupportedAudio

EVERY_BYTE = bytes(range(256))
EVERY_INT16 = np.arange(-32_768, 32_768).astype("<i2")

# The first entries of the decoding tables as they are commonly printed, and the ends of the scale.
MULAW_TO_INT16 = {
    **dict(enumerate([-32124, -31100, -30076, -29052, -28028, -27004, -25980, -24956])),
    0x10: -15996,
    0x7F: 0,
    0x80: 32124,
    0x8F: 16764,
    0xFE: 8,
    0xFF: 0,
}
ALAW_TO_INT16 = {
    **dict(enumerate([-5504, -5248, -6016, -5760, -4480, -4224, -4992, -4736])),
    0x2A: -32256,
    0x55: -8,
    0xAA: 32256,
    0xD4: 24,
    0xD5: 8,
}


def decode(encoding: str, data: bytes, channels: int = 1) -> np.ndarray:
    return Decoder(AudioFormat(encoding, 8000, channels)).decode(data)


@pytest.mark.parametrize(
    ("encoding", "table"), [("mulaw", MULAW_TO_INT16), ("alaw", ALAW_TO_INT16)]
)
def test_g711_bytes_stand_for_the_printed_table_values(encoding, table):
    decoded = decode(encoding, bytes(table)) * 32_768
    assert decoded.tolist() == list(table.values())


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_every_g711_byte_decodes_as_libsndfile_decodes_it(encoding, subtype):
    oracle, _ = soundfile.read(
        io.BytesIO(EVERY_BYTE),
        dtype="int16",
        format="RAW",
        subtype=subtype,
        samplerate=8000,
        channels=1,
    )
    assert (decode(encoding, EVERY_BYTE) * 32_768).tolist() == oracle.tolist()


@pytest.mark.parametrize(
    ("encoding", "encode", "decoder_name", "encoder_name"),
    [
        ("mulaw", encode_mulaw, "ulaw2lin", "lin2ulaw"),
        ("alaw", encode_alaw, "alaw2lin", "lin2alaw"),
    ],
)
def test_g711_agrees_with_audioop_on_every_byte_and_every_sample(
    encoding, encode, decoder_name, encoder_name
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="audioop left Python in 3.13")
    oracle = np.frombuffer(getattr(audioop, decoder_name)(EVERY_BYTE, 2), "<i2")
    assert (decode(encoding, EVERY_BYTE) * 32_768).tolist() == oracle.tolist()
    every_sample = EVERY_INT16.astype(np.float32) / 32_768
    assert encode(every_sample) == getattr(audioop, encoder_name)(EVERY_INT16.tobytes(), 2)


@pytest.mark.parametrize(("encoding", "encode"), [("mulaw", encode_mulaw), ("alaw", encode_alaw)])
def test_g711_survives_decoding_and_encoding(encoding, encode):
    again = encode(decode(encoding, EVERY_BYTE))
    negative_zero = {0x7F} if encoding == "mulaw" else set()
    changed = {byte for byte in EVERY_BYTE if again[byte] != byte}
    assert changed <= negative_zero


def test_every_16_bit_sample_survives_decoding_and_encoding():
    data = EVERY_INT16.tobytes()
    assert encode_s16le(decode("s16le", data)) == data


def test_encoding_clips_what_is_beyond_full_scale():
    beyond = np.array([-3, 3], np.float32)
    assert encode_s16le(beyond) == np.array([-32_768, 32_767], "<i2").tobytes()
    assert encode_mulaw(beyond) == bytes([0x00, 0x80])
    assert encode_alaw(beyond) == bytes([0x2A, 0xAA])


@pytest.mark.parametrize("encode", [encode_s16le, encode_mulaw, encode_alaw])
def test_encoding_refuses_samples_that_are_not_numbers(encode):
    with pytest.raises(UnsupportedAudio, match="NaN"):
        encode(np.array([0.0, np.nan], np.float32))


def test_float_samples_pass_unchanged_and_a_little_overshoot_is_clipped():
    pcm = np.array([0.25, -1.0, 1.5, -7.9], "<f4")
    assert decode("f32le", pcm.tobytes()).tolist() == [0.25, -1.0, 1.0, -1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_float_that_is_not_finite_is_refused(bad):
    with pytest.raises(UnsupportedAudio, match="NaN or infinite"):
        decode("f32le", np.array([0, bad], "<f4").tobytes())


def test_samples_in_integer_scale_are_refused_with_advice():
    with pytest.raises(UnsupportedAudio, match=r"Scale samples to \[-1, 1\]") as caught:
        decode("f32le", np.array([0, -12_000], "<f4").tobytes())
    assert caught.value.value == 12_000


def test_a_refused_chunk_leaves_the_decoder_as_it_was():
    decoder = Decoder(AudioFormat("f32le", 16_000))
    good = np.array([0.5, 0.25], "<f4").tobytes()
    assert decoder.decode(good[:6]).tolist() == [0.5]
    with pytest.raises(UnsupportedAudio):
        decoder.decode(good[6:] + np.array([np.nan], "<f4").tobytes())
    assert decoder.pending_bytes == 2
    assert decoder.decode(good[6:]).tolist() == [0.25]


def test_channels_are_averaged():
    stereo = np.array([[0.5, 0.0], [-0.5, -0.25]], "<f4")
    assert decode("f32le", stereo.tobytes(), channels=2).tolist() == [0.25, -0.375]


def test_reset_drops_half_a_sample():
    decoder = Decoder(AudioFormat("s16le"))
    assert len(decoder.decode(b"\x01")) == 0
    assert decoder.pending_bytes == 1
    decoder.reset()
    assert decoder.pending_bytes == 0
    assert (decoder.decode(b"\x00\x40")).tolist() == [0.5]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_taken(kind):
    assert Decoder(AudioFormat("s16le")).decode(kind(b"\x00\x40")).tolist() == [0.5]


def test_a_strided_memoryview_is_taken_in_its_order():
    every_other = memoryview(b"\x00-\x40-")[::2]
    assert Decoder(AudioFormat("s16le")).decode(every_other).tolist() == [0.5]


@pytest.mark.parametrize(
    ("chunk", "given", "advice"),
    [
        (np.zeros(4), "an array of float64", r"`.astype('<f4').tobytes()`"),
        (np.zeros(4, np.float32), "an array of float32", "AudioFormat('f32le', rate)"),
        (np.zeros(4, np.int16), "an array of int16", "AudioFormat('s16le', rate)"),
        (np.zeros(4, np.uint8), "an array of uint8", "`.tobytes()`"),
        (memoryview(np.zeros(4)), "a memoryview of 8-byte items", "`.cast('B')`"),
        ("call.wav", "a str", "Pass the bytes of samples"),
        ([0, 0], "a list", "Pass the bytes of samples"),
        (4, "an int", "Pass the bytes of samples"),
        (None, "a NoneType", "Pass the bytes of samples"),
    ],
)
def test_what_is_not_bytes_is_refused_with_advice_and_not_taken(chunk, given, advice):
    decoder = Decoder(AudioFormat("s16le"))
    decoder.decode(b"\x00")
    with pytest.raises(UnsupportedAudio) as caught:
        decoder.decode(chunk)
    assert f"push takes bytes and was given {given}. " in caught.value.message
    assert advice in caught.value.message
    assert caught.value.value == given
    assert decoder.decode(b"\x40").tolist() == [0.5]


@settings(max_examples=60, deadline=None)
@given(
    encoding=st.sampled_from(list(Encoding)),
    channels=st.integers(1, 8),
    sizes=st.lists(st.integers(1, 97), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_cuts_between_chunks_never_change_samples(split, encoding, channels, sizes, seed):
    rng = np.random.default_rng(seed)
    if encoding is Encoding.F32LE:
        data = rng.uniform(-2, 2, 200).astype("<f4").tobytes()
    else:
        data = rng.bytes(801)
    whole = Decoder(AudioFormat(encoding, 8000, channels))
    pieces = Decoder(AudioFormat(encoding, 8000, channels))
    expected = whole.decode(data)
    actual = np.concatenate([pieces.decode(piece) for piece in split(data, sizes)])
    assert actual.dtype == expected.dtype == np.float32
    assert actual.tobytes() == expected.tobytes()
    assert pieces.pending_bytes == whole.pending_bytes == len(data) % whole.format.bytes_per_frame


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["s16le", "mulaw", "alaw"]), st.integers(1, 8), st.binary(max_size=400))
def test_any_bytes_decode_to_samples_within_full_scale(encoding, channels, data):
    pcm = decode(encoding, data, channels)
    assert len(pcm) == len(data) // AudioFormat(encoding, 8000, channels).bytes_per_frame
    assert np.all(np.abs(pcm) <= 1)


@pytest.mark.parametrize(
    ("encoding", "rate", "channel"),
    [
        ("s16le", 8000, "telephone"),
        ("s16le", 8001, "wideband"),
        ("f32le", 48_000, "wideband"),
        ("mulaw", 16_000, "telephone"),
        ("alaw", 8000, "telephone"),
    ],
)
def test_narrow_or_companded_audio_is_the_telephone_channel(encoding, rate, channel):
    assert AudioFormat(encoding, rate).channel == channel


def test_a_format_is_compared_by_value_and_keeps_encodings():
    made = AudioFormat("mulaw", np.int64(8000), 2)
    assert made == AudioFormat(Encoding.MULAW, 8000, 2)
    assert made.encoding is Encoding.MULAW
    assert type(made.sample_rate) is int
    assert [AudioFormat(e, 8000, 3).bytes_per_frame for e in Encoding] == [6, 12, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pcm",), "Send one of: s16le, f32le, mulaw, alaw"),
        (("s16le", 7999), "8000 to 48000"),
        (("s16le", 48_001), "8000 to 48000"),
        (("s16le", 16_000.5), "not a whole number"),
        (("s16le", "16000"), "not a whole number"),
        (("s16le", 16_000, 0), "Send 1 to 8"),
        (("s16le", 16_000, 9), "Send 1 to 8"),
        (("s16le", 16_000, True), "not a whole number"),
    ],
)
def test_a_format_that_cannot_be_decoded_is_refused_with_what_is_allowed(arguments, sentence):
    with pytest.raises(UnsupportedAudio, match=sentence) as caught:
        AudioFormat(*arguments)
    assert caught.value.value == arguments[-1]
