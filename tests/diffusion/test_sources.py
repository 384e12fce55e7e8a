"""Sources of known entropy against enumeration, and what the audit says of exact, ignorant and leaking denoisers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import VP, Cond, Denoiser, LinearChain, RectifiedFlow
from toolkit.errors import UsageError
from toolkit.verify.audit import Audit, audit
from toolkit.verify.oracle import Oracle
from toolkit.verify.sources import Posterior, Source, sources

F64 = torch.float64
ROWS, CHAIN, ITEMS = sources()


def short(source: Source, length: int = 4) -> Source:
    return Source(source.name, source.start, source.following, source.stop, length)


def every(length: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(4), repeat=length)))


@pytest.mark.parametrize("source", [ROWS, CHAIN], ids=lambda s: s.name)
def test_probabilities_of_all_rows_and_their_entropy(source: Source) -> None:
    cost = short(source).cost(every(4))
    assert float((-cost).exp().sum()) == pytest.approx(1, rel=1e-12)
    assert float((cost * (-cost).exp()).sum()) / 4 / math.log(2) == pytest.approx(short(source).entropy, rel=1e-12)
    assert float(source.length_cost(every(4)).abs().max()) == 0


def test_probabilities_of_all_items_and_their_entropy() -> None:
    """The items end soon, so that few are longer than those which are counted."""
    source = Source("brief", ITEMS.start, ITEMS.following, torch.tensor([0.7, 0.8, 0.9, 0.95], dtype=F64))
    mass = bits = symbols = 0.0
    for length in range(1, 8):
        cost = source.cost(every(length))
        p = (-cost).exp()
        assert float(source.length_cost(every(length)[:1])) == pytest.approx(-math.log(float(p.sum())), rel=1e-9)
        mass, bits = mass + float(p.sum()), bits + float((p * cost).sum()) / math.log(2)
        symbols += length * float(p.sum())
    assert mass == pytest.approx(1, abs=1e-4)
    assert bits / symbols == pytest.approx(source.entropy, abs=2e-3)


def test_drawn_items_end_as_often_as_they_should() -> None:
    rows = ITEMS.draw(6000, 0)
    inside = rows >= 0
    assert bool((inside[:, 1:] <= inside[:, :-1]).all()) and bool(inside[:, 0].all())
    assert ITEMS.stop is not None
    for symbol in range(4):
        last = (rows == symbol) & ~torch.nn.functional.pad(inside[:, 1:], (0, 1))
        n = int((rows == symbol).sum())
        p = float(ITEMS.stop[symbol])
        assert int(last.sum()) / n == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


@pytest.mark.parametrize("source", [CHAIN, ITEMS], ids=lambda s: s.name)
@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_the_posterior_is_that_of_bayes_over_all_rows(source: Source, noise: float) -> None:
    source = short(source)
    symbols = every(4)[[3, 77, 130, 201]]
    x = source.embed(symbols).double()
    schedule = source.schedule
    t = schedule.time(torch.tensor(-2 * math.log(2 * noise), dtype=F64))
    alpha, sigma = schedule(t)
    x_t = alpha * x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    everything = source.embed(every(4)).double()
    distance = (x_t[:, None] - alpha * everything).square().sum((2, 3))
    share = (-source.cost(every(4)) - distance / (2 * sigma**2)).softmax(1)
    exact = (share[..., None, None] * everything).sum(1)
    torch.testing.assert_close(Posterior(source)(x_t, t), exact, rtol=1e-9, atol=1e-9)


def test_an_item_s_posterior_does_not_see_what_is_beside_it() -> None:
    rows = ITEMS.draw(12, 3)
    cond, x = ITEMS.conditions(rows), ITEMS.embed(rows).double()
    t = torch.tensor(0.6, dtype=F64)
    noisy = 0.4 * x + 0.6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    whole = Posterior(ITEMS)(noisy, t, cond)
    for i in range(12):
        size = int((rows[i] >= 0).sum())
        alone = Posterior(ITEMS)(noisy[i : i + 1, :, :size], t)
        torch.testing.assert_close(whole[i : i + 1, :, :size], alone, rtol=1e-9, atol=1e-9)
        assert float(whole[i, :, size:].abs().sum()) == 0


@pytest.mark.parametrize("source", [ROWS, CHAIN, ITEMS], ids=lambda s: s.name)
def test_the_bound_of_the_exact_posterior_is_the_cost(source: Source) -> None:
    found = audit(Posterior(source), source, rows=256, draws=128, seed=2)
    assert found.error < 0.012
    assert abs(found.excess) < 3.5 * found.error + found.prior
    assert found.holds and found.entropy == source.entropy


class Independent(Oracle):
    """The exact posterior of symbols of one law that know nothing of each other, on any schedule."""

    def __init__(self, source: Source, schedule: object = None) -> None:
        super().__init__(schedule or source.schedule)  # type: ignore[arg-type]
        self.source = source

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = (c.double().expand(len(x_t))[:, None, None] for c in self.schedule(t))
        table = self.source.table.double()
        share = (x_t.double().transpose(1, 2) @ table.T * (alpha / sigma**2) + self.source.start.log()).softmax(-1)
        x_hat = (share @ table).transpose(1, 2)
        return (x_hat * cond["mask"] if cond and "mask" in cond else x_hat).to(x_t)


def test_who_does_not_see_the_context_pays_for_it() -> None:
    """The chain's symbols are even, so alone each costs two bits."""
    found = audit(Independent(CHAIN), CHAIN, rows=256, draws=64)
    assert found.bits == pytest.approx(2, abs=3.5 * found.error) and found.holds
    assert found.excess > 0.5
    # any schedule has the same bound; a chain's steps are above it
    other = audit(Independent(CHAIN, VP()), CHAIN, rows=256, draws=64)
    assert other.bits == pytest.approx(2, abs=3.5 * other.error)
    steps = audit(Independent(CHAIN, LinearChain(1000)), CHAIN, rows=64, draws=333)
    assert 2 - 3.5 * steps.error < steps.bits < 2.2 + 3.5 * steps.error


class Remembers(Posterior):
    """Mixes in what it said of the same rows before."""

    def __init__(self, source: Source, share: float) -> None:
        super().__init__(source)
        self.share, self.last = share, None

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        now = super().forward(x_t, t, cond)
        if self.last is not None and self.last.shape == now.shape:
            now = (1 - self.share) * now + self.share * self.last
        self.last = now
        return now

    last: Tensor | None


class Recalls(Posterior):
    """Is told its own x_hat, and believes it; honest, as long as that is of the same x_t."""

    self_conditioning = True

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        return cond["estimate"] if cond and "estimate" in cond else super().forward(x_t, t, cond)


@pytest.mark.parametrize("source", [ROWS, CHAIN, ITEMS], ids=lambda s: s.name)
def test_a_denoiser_that_remembers_is_caught_and_one_that_recalls_is_not(source: Source) -> None:
    first = audit(Remembers(source, 0.0), source)
    assert first.holds and first.same
    some = audit(Remembers(source, 0.1), source)
    assert not some.holds and not some.same
    assert audit(Recalls(source), source) == audit(Posterior(source), source)


def test_lengths_that_are_told_must_be_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "length_cost", lambda self, symbols: torch.zeros(len(symbols), dtype=F64))
    found = audit(Posterior(ITEMS), ITEMS)
    assert not found.holds and found.excess == pytest.approx(-0.675, abs=0.1)


def test_no_number_is_no_bound() -> None:
    assert not Audit("x", math.nan, 1.0, 1.0, math.nan, 0.0, True).holds


class Flat(Denoiser):
    """Gives x_hat of a wrong shape."""

    schedule = RectifiedFlow()

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        return x_t.flatten(1)

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError


def test_a_wrong_shape_is_said() -> None:
    with pytest.raises(UsageError, match=r"'Markov chain' gives \(256, 64\) for x_t of \(256, 4, 16\)"):
        audit(Flat(), CHAIN)
