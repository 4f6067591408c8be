"""Cosine similarity of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from streamsv.errors import ModelMismatch
from streamsv.scoring.similarity import Directions, cosine


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_cosines_are_those_of_scikit_learn_in_the_kind_given(kind: Any) -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=192).astype(kind), draw.normal(size=(7, 192)).astype(kind)
    cosines = cosine(a, b)
    assert cosines.dtype == kind
    np.testing.assert_allclose(cosines, cosine_similarity(a[None], b)[0], atol=1e-6)


def test_length_does_not_matter_and_cosines_stay_within_one() -> None:
    a = np.random.default_rng(1).normal(size=64).astype(np.float32)
    cosines = cosine(a, np.stack([a, 1000 * a, -a / 1000]))
    np.testing.assert_allclose(cosines, [1, 1, -1], atol=1e-6)
    assert (np.abs(cosines) <= 1).all()


def test_a_row_of_zeros_is_like_nothing() -> None:
    assert cosine(np.ones(3), np.zeros((1, 3))).tolist() == [0.0]
    assert cosine(np.ones(3), np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("shapes", [((3,), (2, 4)), ((3,), (3,)), ((1, 3), (2, 3))])
def test_embeddings_of_different_sizes_are_refused(shapes: Any) -> None:
    with pytest.raises(ModelMismatch, match="expected"):
        cosine(np.ones(shapes[0]), np.ones(shapes[1]))


@pytest.mark.parametrize("kinds", [(np.float32, np.float32), (np.float32, np.float64)])
def test_directions_are_compared_again_and_again(kinds: Any) -> None:
    draw = np.random.default_rng(2)
    rows = draw.normal(size=(50, 64)).astype(kinds[0])
    directions = Directions(rows)
    rows_before = rows.copy()
    for _ in range(3):
        one = draw.normal(size=64).astype(kinds[1])
        expected = cosine_similarity(one[None], rows)[0]
        np.testing.assert_allclose(directions.cosine(one), expected, atol=1e-6)
        np.testing.assert_allclose(directions.cosines(one), expected, atol=1e-6)
    np.testing.assert_array_equal(rows, rows_before)


def test_an_embedding_of_zeros_is_like_nothing() -> None:
    directions = Directions(np.ones((2, 3)))
    assert directions.cosine(np.zeros(3)).tolist() == [0.0, 0.0]
    assert directions.cosines(np.zeros(3)) == [0.0, 0.0]


@pytest.mark.parametrize("size", [2, 4])
def test_a_list_of_cosines_is_refused_as_they_are(size: int) -> None:
    with pytest.raises(ModelMismatch, match="expected"):
        Directions(np.ones((2, 3))).cosines(np.ones(size))
