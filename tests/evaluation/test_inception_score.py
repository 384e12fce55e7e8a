"""Figures of probabilities against closed forms; collapse must show."""

from __future__ import annotations

import math

import pytest
import torch

from toolkit.evaluation.metrics.inception_score import am_score, inception_score, modified_inception_score


def shares(counts: list[int]) -> torch.Tensor:
    """Certain labels, so many of each."""
    return torch.eye(len(counts))[torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))]


def entropy(p: list[float]) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


def test_inception_score_of_certain_labels_is_the_number_of_labels_in_use() -> None:
    assert inception_score(shares([7] * 10)) == pytest.approx(10, rel=1e-9)
    assert inception_score(shares([70, 0, 0])) == pytest.approx(1, rel=1e-9)
    # when the labels are certain it is exp of the marginal's entropy
    assert inception_score(shares([1, 2, 5])) == pytest.approx(math.exp(entropy([1 / 8, 2 / 8, 5 / 8])), rel=1e-9)


def test_a_collapsed_set_scores_low_and_none_scores_above_the_number_of_labels() -> None:
    # nine in ten of one class: exp(0.9 ln(1/0.9) + 9 x 0.0111 ln 90) = 1.72; over the wrong axis it was 28.8
    collapsed = shares([900, *[11] * 8, 12])
    assert inception_score(collapsed) == pytest.approx(math.exp(entropy([0.9, *[0.011] * 8, 0.012])), rel=1e-9)
    assert inception_score(collapsed) < 2
    draw = torch.Generator().manual_seed(0)
    for sharpness in (0.1, 1, 10, 100):
        p = (sharpness * torch.randn(500, 10, generator=draw)).softmax(1)
        assert 1 <= inception_score(p) <= 10
    soft = (6 * shares([900, *[11] * 8, 12])).softmax(1)
    assert inception_score(soft) < 2 < inception_score((6 * shares([100] * 10)).softmax(1))


def test_modified_score_is_the_mean_over_all_pairs() -> None:
    p = torch.randn(7, 3, generator=torch.Generator().manual_seed(1)).double().softmax(1)
    pairs = [float((a * (a / b).log()).sum()) for a in p for b in p]
    assert modified_inception_score(p) == pytest.approx(math.exp(sum(pairs) / 49), rel=1e-9)
    assert modified_inception_score(p[:1].expand(9, -1)) == pytest.approx(1)


def test_am_by_hand() -> None:
    real = torch.tensor([[0.5, 0.5]])
    assert am_score(real, real) == pytest.approx(math.log(2))
    # certain, and of the real shares: nothing to complain of
    assert am_score(shares([5, 5]), shares([3, 3])) == pytest.approx(0, abs=1e-9)
    p = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    wanted = 0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3) + (entropy([0.8, 0.2]) + entropy([0.6, 0.4])) / 2
    assert am_score(p, real) == pytest.approx(wanted, rel=1e-6)
    assert am_score(shares([10, 0]), shares([5, 5])) > 10


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(torch.ones(3, 2))
    with pytest.raises(ValueError, match="sum to 1"):
        modified_inception_score(torch.zeros(0, 2))
