"""G1-G3: what samples have in the end, from pure noise to t = 0, with an exact denoiser.

Mean and variance of data that are Gaussian, over the truth, without sampling: every sampler is linear in each mode
of the data, so unit vectors through its own code give both exactly (measure.py). Sampling starts as it does in use,
from N(0, sigma_T^2), on the grid `log-snr` from a level that follows the data (`highest`) down to 0.01, then 0.
Texts: how often the tokens of a chain follow each other as they do in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from toolkit.diffusion import (
    DDPM,
    GRIDS,
    SAMPLERS,
    CosineChain,
    EulerAncestral,
    LinearChain,
    RectifiedFlow,
    Sampler,
    StochasticDDIM,
    sample,
)
from toolkit.diffusion.grid import Grid, highest
from toolkit.verify.check import Check, below, close
from toolkit.verify.ends_known import KNOWN
from toolkit.verify.measure import Remembered, end_shift, end_variance
from toolkit.verify.oracle import DTYPE, SpectrumDenoiser, TokenChain
from toolkit.verify.spectra import Spectrum, picture, sound, together, white

COUNTS = (10, 20, 50)
SIZES = (28, 64, 128, 256)
RECIPES: tuple[tuple[str, str, int], ...] = (("dpm++3m", "log-snr", 20), ("ddpm", "trailing", 1000))
"""Sampler, grid and steps of the recipes of pictures and sounds: these are right within `NEAR`."""
NEAR = 0.02
TEXTS: tuple[tuple[str, float, float], ...] = (
    ("er-sde", 5.0, 0.8),
    ("er-sde", 0.0, 0.8),
    ("sa-solver", 5.0, 0.8),
    ("euler-ancestral", 5.0, 0.817),
)
"""Sampler, spread of the levels, share of likely pairs: the truth is 0.8; of euler-ancestral, what 4,000 texts gave."""
Variances = Callable[[SpectrumDenoiser, Tensor], Tensor]
"""(data, times) -> the variance of each mode at the end."""
INDEPENDENT: dict[str, Variances] = {
    "ddim": SpectrumDenoiser.ddim_variance,
    "euler": SpectrumDenoiser.ddim_variance,
    "ddpm": SpectrumDenoiser.ancestral_variance,
    "ddim-eta": SpectrumDenoiser.ancestral_variance,
    "euler-ancestral": SpectrumDenoiser.ancestral_variance,
}
"""Recursions that share no code with the samplers."""
SCHEDULE = Remembered(RectifiedFlow())


class End(NamedTuple):
    """Variances over the truth."""

    place: float
    """Of a pixel or a moment."""
    worst: float
    """Of the mode that is furthest off."""

    def __str__(self) -> str:
        return f"{self.place:.4f}, worst mode {self.worst:.4f}"


TOGETHER = (("white", "sound"), *((f"{size} px",) for size in SIZES))
"""Data of one highest level: measured in one batch."""


@cache
def data() -> dict[str, list[Spectrum]]:
    """By name; pictures with a rest that is white, and one that falls."""
    sizes = {f"{size} px": [picture(size, falling=False), picture(size, falling=True)] for size in SIZES}
    return {"white": [white()], "sound": [sound()], **sizes}


@cache
def oracle(names: tuple[str, ...]) -> tuple[SpectrumDenoiser, list[slice]]:
    """All modes of these data, and where those of each spectrum are."""
    eigenvalues, where = together([spectrum for name in names for spectrum in data()[name]])
    return SpectrumDenoiser(SCHEDULE, eigenvalues), where


@cache
def times(names: tuple[str, ...], n: int) -> Tensor:
    """The default grid for these data."""
    return GRIDS["log-snr"](SCHEDULE, n, sigma_max=highest(float(oracle(names)[0].eigenvalues.max())))


def ends(variance: Variances, n: int) -> dict[str, list[End]]:
    """The ends of `n` steps on all `data`."""
    found: dict[str, list[End]] = {}
    for names in TOGETHER:
        modes, where = oracle(names)
        ratio = variance(modes, times(names, n)) / modes.eigenvalues
        owners = [(name, spectrum) for name in names for spectrum in data()[name]]
        for (name, spectrum), at in zip(owners, where, strict=True):
            end = End(float((ratio[at] * spectrum.shares).sum()), _furthest(ratio[at]))
            found.setdefault(name, []).append(end)
    return found


def summary(found: dict[str, list[End]]) -> dict[str, End]:
    """White, pictures (whichever is worst), sound."""
    pictures = [end for name in found if name.endswith("px") for end in found[name]]
    worst = [_furthest(torch.tensor(column, dtype=DTYPE)) for column in zip(*pictures, strict=True)]
    return {"white": found["white"][0], "pictures": End(*worst), "sound": found["sound"][0]}


def expected(name: str, n: int) -> dict[str, End]:
    """By a recursion of its own where there is one; otherwise what was measured before (ends_known.py)."""
    if name in INDEPENDENT:
        return summary(ends(INDEPENDENT[name], n))
    row = KNOWN[name, n]
    return {"white": End(row[0], row[0]), "pictures": End(*row[1:3]), "sound": End(*row[3:])}


def one(name: str) -> Iterator[Check]:
    """G1: three rows for each number of steps."""
    for n in COUNTS:
        known = expected(name, n)
        for where, end in summary(ends(partial(end_variance, SAMPLERS[name]()), n)).items():
            row = f"G1 {name}, {n} steps, {where}: variance / truth"
            if (name, "log-snr", n) in RECIPES:
                ok = max(abs(end.place - 1), abs(end.worst - 1)) <= NEAR
                yield Check(row, str(end), f"1 within {NEAR:g}", ok, "recipes use it")
            else:
                ok = max(abs(a - b) for a, b in zip(end, known[where], strict=True)) < 1.5e-4
                yield Check(row, str(end), str(known[where]), ok, "known")


def means(name: str) -> Iterator[Check]:
    """G1: a mean of 0 stays 0; of another, sampling loses what N(0, sigma_T^2) lacks of it and does not forget.

    From 10 deviations of noise the flow keeps a tenth of x_T, the reverse SDE a hundredth.
    """
    large = TOGETHER[-1]
    lost = float(end_shift(SAMPLERS[name](), oracle(large)[0], times(large, 20)).abs().max())
    yield below(f"G1 {name}, 20 steps, 256 px: share lost of a brightness", lost, 0.11)


def chain_of_ddpm() -> Iterator[Check]:
    """The recipes of DDPM: T ancestral steps on a chain of T."""
    for name, chain in {"linear-beta": LinearChain(), "cosine-beta": CosineChain()}.items():
        modes = SpectrumDenoiser(chain, torch.ones(1, dtype=DTYPE))
        got = float(end_variance(DDPM(), modes, GRIDS["trailing"](chain, 1000)))
        yield close(f"G1 ddpm, {name}, 1000 trailing steps, white: variance / truth", got, 1.0, NEAR, "recipes use it")


def few_ancestral_steps() -> Iterator[Check]:
    """G2: with the posterior variance, ancestral steps give the variance at any number of steps, if data are white."""
    for std in (0.3, 1.0, 2.0):

        def error(log_snr: float, std: float = std) -> float:
            return std**2 / (1 + std**2 * math.exp(min(log_snr, 700.0)))

        made: dict[str, Sampler] = {
            "ddpm": DDPM(error="unit" if std == 1 else error),
            "ddim-eta, eta = 0.5": StochasticDDIM(0.5, error),
            "euler-ancestral": EulerAncestral(error=error),
        }
        modes = SpectrumDenoiser(SCHEDULE, torch.tensor([std**2], dtype=DTYPE))
        for name, sampler in made.items():
            off = 0.0
            for n in (1, 2, 5, 10):
                got = float(end_variance(sampler, modes, GRIDS["uniform"](SCHEDULE, n)))
                off = max(off, abs(got / std**2 - 1))
            yield close(f"G2 {name} with error, 1 to 10 steps, deviation {std:g}: variance off by", off, 0.0, 1e-10)


class Told(NamedTuple):
    """The share of tokens that follow as they mostly do, and its standard error."""

    share: float
    error: float


def texts(
    sampler: Sampler, n: int, spread: float, rows: int, length: int = 12, seed: int = 0, grid: Grid | None = None
) -> Told:
    """Texts of a chain, sampled with its exact posterior: 0.8 of the pairs should be of the likely kind.

    Each token has a level of its own, within exp(+-spread). `grid`: by default `log-snr` over `reach`.
    """
    draw = torch.Generator().manual_seed(seed)
    chain = TokenChain(RectifiedFlow(), levels(spread, rows, length, draw))
    times = grid(chain.schedule, n) if grid else GRIDS["log-snr"](chain.schedule, n, *reach(spread))

    def noise() -> Tensor:
        return torch.randn(rows, length, chain.table.shape[1], generator=draw, dtype=DTYPE)

    start = float(chain.schedule(times[0])[1]) * noise()
    tokens = chain.written(sample(chain, chain.schedule, sampler, start, times, noise))
    likely = (tokens[:, 1:] == (tokens[:, :-1] + 1) % len(chain.table)).to(DTYPE).mean(1)
    return Told(float(likely.mean()), float(likely.std()) / math.sqrt(rows))


def levels(spread: float, rows: int, length: int, draw: torch.Generator) -> Tensor:
    """Scales of tokens as the recipes of texts draw them, each text all of them in its own order: (rows, length, 1)."""
    rank = torch.rand(rows, length, generator=draw).argsort(-1).argsort(-1).to(DTYPE)
    return torch.exp(spread * ((2 * rank + 1) / length - 1))[..., None]


def reach(spread: float, dims: int = 16) -> tuple[float, float]:
    """From 0.1 norms of an embedding by exp(spread) to 10 norms times exp(spread), as the recipes of texts sample."""
    norm = math.sqrt(dims)
    return 0.1 * norm / math.exp(spread), 10 * norm * math.exp(spread)


def chains_of_tokens() -> Iterator[Check]:
    """G3: 64 steps, 300 texts; the standard error is 0.007."""
    for name, spread, wanted in TEXTS:
        share, error = texts(SAMPLERS[name](), 64, spread, 300)
        row = f"G3 {name}, 64 steps, levels within exp(+-{spread:g}): likely pairs"
        yield close(row, share, wanted, 3 * error, f"standard error {error:.4f}; truth 0.8")


def _furthest(ratio: Tensor) -> float:
    return float(ratio[ratio.log().abs().argmax()])


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    **{f"G1 {name}": partial(one, name) for name in SAMPLERS},
    **{f"G1 {name}, mean": partial(means, name) for name in SAMPLERS},
    "G1 ddpm, chains": chain_of_ddpm,
    "G2 ancestral": few_ancestral_steps,
    "G3 texts": chains_of_tokens,
}
