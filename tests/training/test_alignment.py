from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.alignment import FrameGrid, aligned, pair

WAVLM = FrameGrid(200, 320)  # windows of 400 samples every 320
CAUSAL = FrameGrid(319, 320)  # the newest sample of a frame that ends its 20 ms
PAPER = FrameGrid(399, 320)


def test_without_a_delay_each_frame_answers_the_one_it_has_heard_the_middle_of():
    assert pair(WAVLM, CAUSAL, (5, 6), 0).tolist() == [0, 1, 2, 3, 4, -1]
    assert pair(WAVLM, PAPER, (5, 5), 0).tolist() == [0, 1, 2, 3, 4]


def test_a_delay_shifts_the_answers_and_leaves_the_edges_unpaired():
    assert pair(WAVLM, CAUSAL, (5, 5), 640).tolist() == [-1, -1, 0, 1, 2]
    assert pair(WAVLM, CAUSAL, (5, 5), 119).tolist() == [0, 1, 2, 3, 4]
    assert pair(WAVLM, CAUSAL, (5, 5), 120).tolist() == [-1, 0, 1, 2, 3]


def test_a_student_with_few_frames_answers_the_newest_of_several():
    assert pair(FrameGrid(80, 160), CAUSAL, (6, 3), 0).tolist() == [1, 3, 5]


def test_a_slow_teacher_leaves_frames_unpaired():
    assert pair(FrameGrid(320, 640), CAUSAL, (2, 4), 0).tolist() == [-1, 0, -1, 1]


@given(
    st.integers(0, 1000), st.integers(100, 900), st.integers(0, 900), st.integers(0, 2000),
    st.integers(1, 30), st.integers(1, 30),
)  # fmt: skip
def test_no_frame_answers_for_what_it_has_not_heard(first, stride, newest, delay, heard, given_):
    teacher, student = FrameGrid(first, stride), FrameGrid(newest, 320)
    pairs = pair(teacher, student, (heard, given_), delay).tolist()
    for frame, answered in enumerate(pairs):
        if answered >= 0:
            instant = first + stride * answered + delay
            assert newest + 320 * frame >= instant
            assert frame == 0 or newest + 320 * (frame - 1) < instant
    for i in range(heard):
        place = max(0, math.ceil((first + stride * i + delay - newest) / 320))
        assert place >= given_ or pairs[place] >= i


def test_targets_come_in_the_students_order_with_their_validity():
    targets = torch.arange(4.0)[None, :, None].expand(2, 4, 3)
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    found, mask = aligned(targets, valid, torch.tensor([-1, 0, 1, 2]))
    assert found[0, 1:, 0].tolist() == [0, 1, 2]
    assert mask.tolist() == [[False, True, True, True], [False, True, True, False]]
