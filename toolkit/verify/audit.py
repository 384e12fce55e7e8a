"""Audit of a bound: the bits of a denoiser on sources of known entropy, `toolkit verify bound --model MODULE`.

MODULE is a .py file or an importable module with one function,

    def denoiser(source: Source) -> Denoiser

which is called for each of `sources()` and returns a denoiser of x (B, d, W), rows of source.table, with any schedule.
Items come with cond["mask"]; a denoiser with `self_conditioning` may get its own x_hat of the same x_t. Nothing is
trained here: a module that needs training does it on source.draw(n, seed), or loads its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import LogNormal
from toolkit.diffusion.schedule import expand
from toolkit.diffusion.vlb import Continuous, Steps, bound, with_second_pass
from toolkit.discovery import load
from toolkit.errors import ToolkitError, UsageError
from toolkit.verify.sources import Source, sources

LEAST, MOST, USUAL = 0.1, 100.0, 0.4
"""Noise in norms of an embedding: lowest (every symbol is certain), highest (none is), middle of the decisive range."""
ROWS, DRAWS = 256, 32


class Audit(NamedTuple):
    """The bound of a denoiser on a source, in bits a symbol."""

    source: str
    bits: float
    """The bound over the rows that were drawn; for items plus the exact cost of their lengths."""
    truth: float
    """Cost of these rows under the source itself."""
    entropy: float
    """Mean cost of rows."""
    error: float
    """Standard error of bits - truth, over rows."""
    prior: float
    """The bound's first term."""
    same: bool
    """True where x_hat of one x_t is equal in a first and a last call; if not, it is no function of x_t."""

    @property
    def excess(self) -> float:
        """bits - truth: 0 for the exact posterior, more for all others."""
        return self.bits - self.truth

    @property
    def holds(self) -> bool:
        """True where the bound is not below the truth by more than chance, and `same`; False for a nan."""
        return self.same and self.excess >= -3 * self.error - 1e-3


@torch.no_grad()
def audit(denoiser: Denoiser, source: Source, rows: int = ROWS, draws: int = DRAWS, seed: int = 0) -> Audit:
    """Measure the bound of a denoiser on rows drawn from a source. Raises UsageError for an x_hat of wrong shape."""
    symbols = source.draw(rows, seed)
    x, cond = source.embed(symbols), source.conditions(symbols)
    norm, schedule = math.sqrt(x.shape[1]), denoiser.schedule
    times = LogNormal(math.log(USUAL * norm), 0.7)
    levels = Steps.of_chain(schedule) if schedule.T else Continuous(schedule, LEAST * norm, MOST * norm, times)
    denoise = with_second_pass(denoiser, cond)
    first: list[tuple[Tensor, Tensor, Tensor]] = []

    def check(x_t: Tensor, t: Tensor) -> Tensor:
        x_hat = denoise(x_t, t)
        if not isinstance(x_hat, Tensor) or x_hat.shape != x_t.shape:
            shape = tuple(x_hat.shape) if isinstance(x_hat, Tensor) else type(x_hat).__name__
            raise UsageError(f"the denoiser of '{source.name}' gives {shape} for x_t of {tuple(x_t.shape)}")
        if not first:
            first.append((x_t, t, x_hat.clone()))
        return x_hat

    def reconstruct(x_t: Tensor, t: Tensor) -> Tensor:
        """Return the cost of symbols given x_t alone, (B,), without a denoiser."""
        ratio = expand(schedule.noise_ratio(t), x_t).double()
        z = (x_t / expand(schedule(t)[0], x_t)).double()
        logits = z.transpose(1, 2) @ source.table.double().T / ratio**2
        costs = -logits.log_softmax(-1).gather(-1, symbols.clamp(min=0)[..., None])[..., 0]
        return torch.where(symbols >= 0, costs, 0.0).sum(1)

    terms = bound(check, x, levels, reconstruct, seed, range(rows), draws, prior_variance=1.0, mask=cond.get("mask"))
    x_t, t, x_hat = first[0]
    same = torch.allclose(check(x_t, t), x_hat, rtol=1e-3, atol=1e-3 * norm)
    sizes, truth = (symbols >= 0).sum(1).double(), source.cost(symbols)
    bits = terms.total + source.length_cost(symbols)
    per, excess = float(sizes.sum()) * math.log(2), bits - truth
    spread = (excess - excess.sum() / sizes.sum() * sizes).square().sum().sqrt()
    return Audit(
        source.name, float(bits.sum()) / per, float(truth.sum()) / per, source.entropy, float(spread) / per,
        float(terms.prior.sum()) / per, same,
    )  # fmt: skip


def denoiser_of(name: str) -> Callable[[Source], Denoiser]:
    """Return the function `denoiser` of the module `name`, with a check of its result. Both raise UsageError."""
    module: Any = load(name, "module")
    make = getattr(module, "denoiser", None)
    if not callable(make):
        raise UsageError(f"{name} must define a function denoiser(source) that returns a Denoiser")

    def call(source: Source) -> Denoiser:
        denoiser = make(source)
        if not isinstance(denoiser, Denoiser):
            raise UsageError(
                f"denoiser() of {name} must return a toolkit.diffusion.Denoiser, not {type(denoiser).__name__}"
            )
        return denoiser.eval()

    return call


def audits(name: str) -> Iterator[Audit]:
    """Audit each source under the module `name`. Raises UsageError for any error in that module."""
    try:
        make = denoiser_of(name)
        for source in sources():
            yield audit(make(source), source)
    except ToolkitError:
        raise
    except Exception as error:
        raise UsageError(f"{name} fails ({type(error).__name__}: {error})") from error
