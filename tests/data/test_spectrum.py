"""The largest eigenvalue of data whose covariance is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.points import Points
from toolkit.data import spectrum
from toolkit.data.spectrum import largest, spread
from toolkit.modality import Dataset, Examples, Facts, InMemory, Splits


class NotTaken(Dataset):
    """Held-out examples, which say nothing of a noise level."""

    def __len__(self) -> int:
        raise AssertionError("asked for")

    def take(self, indices: Tensor) -> Examples:
        raise AssertionError("asked for")


class Made(Points):
    """Any tensor as training examples."""

    def __init__(self, data: Dataset, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
        super().__init__(Points.Data(), Points.Model(), Facts(shape=shape))
        self.splits = Splits("made", data, NotTaken(), self.facts)
        self.dtype = dtype

    def encode(self, raw: Tensor) -> Tensor:
        return raw.to(self.dtype)


def spiked(n: int, d: int, c: float, seed: int = 0) -> Tensor:
    """Rows of covariance 1 + (c - 1) v v', v a random direction, and a mean that is large."""
    draw = torch.Generator().manual_seed(seed)
    v = torch.nn.functional.normalize(torch.randn(d, generator=draw), dim=0)
    rows = torch.randn(n, d, generator=draw)
    return rows + (math.sqrt(c) - 1) * (rows @ v)[:, None] * v + 3 * torch.randn(d, generator=draw)


@pytest.mark.parametrize("c", [20.0, 500.0])
def test_a_known_covariance(c: float) -> None:
    # a variance of 1,200 numbers has a standard error of 4.1 %
    assert largest(spiked(1200, 64, c)) == pytest.approx(c, rel=0.12)


def test_few_examples_do_not_make_it_large() -> None:
    """White noise of 2,000 numbers: 1 is right, and the sample covariance of 60 of them says (1 + sqrt(33))^2 = 46."""
    found = [largest(spiked(60, 2000, 1.0, seed)) for seed in range(8)]
    plain = torch.linalg.matrix_norm(spiked(60, 2000, 1.0) - spiked(60, 2000, 1.0).mean(0), 2) ** 2 / 59
    assert float(plain) > 40 and max(found) < 2 and sum(found) / 8 == pytest.approx(1, abs=0.15)
    # and where there is something, it is found: flat pictures of 2,000 pixels
    flat = [largest(spiked(60, 2000, 2000.0, seed)) for seed in range(8)]
    assert sum(flat) / 8 == pytest.approx(2000, rel=0.15)  # a standard error of 6 %


def test_in_the_basis_of_all_numbers() -> None:
    """Against the covariance matrices of both halves, by numpy's way: d x d and not n x n."""
    rows = spiked(30, 12, 9.0).double()
    wanted = 0.0
    for known, other in ((rows[:15], rows[15:]), (rows[15:], rows[:15])):
        v = torch.linalg.eigh(torch.cov(known.T)).eigenvectors[:, -1]
        wanted += float(v @ torch.cov(other.T) @ v) / 2
    assert largest(rows.float()) == pytest.approx(wanted, rel=1e-4)


def test_of_a_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = torch.randn(500, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    data = flat.expand(500, 1, 8, 8) + 0.1 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    found = spread(Made(InMemory(data), (1, 8, 8)))
    assert found == pytest.approx(64 * float(flat.var()), rel=0.01)
    assert spread(Made(InMemory(data), (1, 8, 8))) == found  # the same examples every time
    monkeypatch.setattr(spectrum, "_AT_ONCE", 64 * 7)
    assert spread(Made(InMemory(data), (1, 8, 8))) == found  # in however many parts
    monkeypatch.setattr(spectrum, "NUMBERS", 64 * 40)
    fewer = spread(Made(InMemory(data), (1, 8, 8)))
    assert fewer != found and fewer == pytest.approx(64, rel=0.6)  # 40 examples


class Unequal(Dataset):
    """Sounds of 6 or 12 samples, batches as long as their longest."""

    def __init__(self, raw: Tensor) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    def take(self, indices: Tensor) -> Examples:
        return Examples(self.raw[indices][..., : 12 if bool((indices % 2 == 1).any()) else 6], {})


def test_examples_are_zero_beyond_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(3)
    raw = torch.randn(400, 1, 1, generator=draw).repeat(1, 1, 12)
    raw[::2, :, 6:] = 0
    monkeypatch.setattr(spectrum, "_AT_ONCE", 12)  # one at a time: half of the batches are short
    found = spread(Made(Unequal(raw), (1, 12)))
    assert found == pytest.approx(largest(raw.flatten(1)), rel=0.1)
    exact = torch.linalg.eigvalsh(torch.tensor([[1.0, 0.5], [0.5, 0.5]]))[-1] * 6  # first and second half of a sound
    assert found == pytest.approx(float(exact), rel=0.25)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (torch.ones(50, 6), {"dtype": torch.int64}),
        (torch.randn(3, 6), {}),
        (torch.ones(50, 6), {}),
        (torch.full((50, 6), math.nan), {}),
    ],
    ids=["tokens", "three", "all equal", "nan"],
)
def test_what_has_none(data: Tensor, options: dict[str, Any]) -> None:
    assert spread(Made(InMemory(data), (6,), **options)) is None
