"""What is written by hand for speed is what ``json`` would have written of the event's fields."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamsv.events import Event, Score, ScoreUpdated, SessionEnded, SpeechStarted
from streamsv.server.texts import text_of

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
SCORE = st.builds(Score, st.text(), NUMBER, st.none() | NUMBER, NUMBER)
SCORES = st.lists(SCORE, max_size=5).map(tuple)
UPDATED = st.builds(ScoreUpdated, NUMBER, NUMBER, SCORES, st.none() | NUMBER, st.text())


@given(UPDATED | st.builds(SpeechStarted, NUMBER) | st.builds(SessionEnded, NUMBER, NUMBER))
def test_the_text_of_an_event_has_its_fields_in_their_order(event: Event) -> None:
    text = text_of(17, event)
    fields = json.loads(text)
    assert fields.pop("seq") == 17
    assert json.dumps(fields) == json.dumps(event.to_dict())
    assert list(json.loads(text))[:2] == ["type", "seq"]


def test_numbers_of_numpy_are_numbers() -> None:
    score = Score("a", np.float64(0.5), None, np.float64(1.25))  # as arithmetic with arrays gives
    event = ScoreUpdated(np.float64(1.0), 0.5, (score,), None, "wideband")
    assert json.loads(text_of(1, event))["scores"][0]["llr"] == 1.25
