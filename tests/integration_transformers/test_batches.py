"""Batches: which token a point picks."""

from __future__ import annotations

import math

import pytest
import torch

from transformers_stopping.batches import pick

OUT = -math.inf


def test_a_point_picks_by_the_probabilities() -> None:
    """Laid end to end; a token that is ruled out has no room."""
    scores = torch.tensor([[OUT, 0.0, OUT, 0.0, OUT]])
    for point, token in ((0.0, 1), (0.49, 1), (0.51, 3), (0.999999, 3)):
        assert [token] == pick(scores, [point]).tolist()


@pytest.mark.parametrize("ruled_out", [0, 1, 5])
def test_the_top_of_the_ladder_is_a_token(ruled_out: int) -> None:
    """The last one that is not ruled out, also where rounding puts the point at the very top."""
    torch.manual_seed(0)
    scores = torch.randn(8, 50 + ruled_out) * 5
    scores[:, 50:] = OUT
    for point in (math.nextafter(1, 0), 1.0):
        found = pick(scores, [point] * 8)
        assert (found < 50).all()
        assert torch.isfinite(scores.gather(1, found[:, None])).all()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([0.0, math.nan, 1.0], "1 times NaN in row 1"),
        ([OUT, OUT, OUT], "-inf for every token in row 1"),
        ([0.0, math.inf, 1.0], "inf in row 1"),
    ],
)
def test_scores_that_are_no_distribution_are_refused(row: list[float], told: str) -> None:
    """They would pick a token outside of the vocabulary."""
    with pytest.raises(
        ValueError, match=f"scores must hold a finite one in each row.*, got {told}"
    ):
        pick(torch.tensor([[0.0, 1.0, 2.0], row]), [0.5, 0.5])
