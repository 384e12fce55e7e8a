"""Batches in which rare labels are more frequent than in the data."""

from __future__ import annotations

import pytest
import torch

from tests.training.test_split import Labelled, Lengths
from toolkit.modality import InMemory
from toolkit.training.batches import Batches, shares

LABELS = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)


@pytest.mark.parametrize(("balance", "expected"), [
    (0.0, [80, 15, 5]),
    (1.0, [34, 33, 33]),
    (0.5, [59, 26, 15]),  # sqrt(80) : sqrt(15) : sqrt(5) = 59.4 : 25.7 : 14.9
])  # fmt: skip
def test_shares_are_powers_of_the_counts(balance: float, expected: list[int]) -> None:
    assert shares(LABELS, balance) == expected


def test_each_epoch_has_the_shares_and_each_example_its_turn() -> None:
    data = InMemory(torch.arange(100)[:, None].float(), {"label": LABELS})
    batches = Batches(Labelled(), data, 10, 0, 0.0, balance=1.0)  # type: ignore[arg-type]
    seen = torch.cat([batches.indices(step, range(10)) for step in range(50)])
    for epoch in seen.split(100):
        assert LABELS[epoch].bincount().tolist() == [34, 33, 33]
    counts = seen.bincount(minlength=100)
    for label in range(3):  # within a label nothing is seen twice more often than anything else
        inside = counts[label == LABELS]
        assert int(inside.max() - inside.min()) <= 1
    again = Batches(Labelled(), data, 10, 0, 0.0, balance=1.0)  # type: ignore[arg-type]
    assert torch.equal(again.indices(37, [3, 1]), seen[[373, 371]])
    x, cond = batches(3, range(10))
    assert torch.equal(cond["label"], LABELS[seen[30:40]]) and torch.equal(x.floor()[:, 0].long(), seen[30:40])


def test_without_labels_there_is_nothing_to_balance() -> None:
    plain, balanced = (Batches(Labelled(), Lengths(torch.arange(1, 9)), 4, 0, 0.0, balance=b) for b in (0.0, 1.0))  # type: ignore[arg-type]
    assert torch.equal(plain.indices(5, range(4)), balanced.indices(5, range(4)))
