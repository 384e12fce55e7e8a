"""G1-G3: mean and variance of samples, from pure noise to t = 0, with an exact denoiser.

For Gaussian data, over the truth, without sampling: every sampler is linear in each mode of the data, so unit vectors
through its own code give both exactly (measure.py). Sampling starts as it does in use, from N(0, sigma_T^2), on the
grid `log-snr` from a level that depends on the data (`highest`) down to 0.01, then 0. For texts: the share of
neighbouring tokens that form a likely pair of the chain.
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
from toolkit.verify.measure import CachedSchedule, end_shift, end_variance
from toolkit.verify.oracle import DTYPE, SpectrumDenoiser, TokenChain
from toolkit.verify.spectra import Spectrum, picture, sound, together, white

COUNTS = (10, 20, 50)
SIZES = (28, 64, 128, 256)
RECIPES: tuple[tuple[str, str, int], ...] = (("dpm++3m", "log-snr", 20), ("ddpm", "trailing", 1000))
"""Sampler, grid and steps of the recipes of pictures and sounds, which must be right within `NEAR`."""
NEAR = 0.02
TEXTS: tuple[tuple[str, float, float], ...] = (
    ("er-sde", 5.0, 0.8),
    ("er-sde", 0.0, 0.8),
    ("sa-solver", 5.0, 0.8),
    ("euler-ancestral", 5.0, 0.817),
)
"""Sampler, spread of the levels, expected share of likely pairs: the true 0.8; for euler-ancestral, of 4,000 texts."""
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
SCHEDULE = CachedSchedule(RectifiedFlow())


class End(NamedTuple):
    """Variances over the truth."""

    place: float
    """Ratio for a pixel or a moment."""
    worst: float
    """Ratio of the mode with the largest error."""

    def __str__(self) -> str:
        return f"{self.place:.4f}, worst mode {self.worst:.4f}"


TOGETHER = (("white", "sound"), *((f"{size} px",) for size in SIZES))
"""Names of data with one highest level, which are measured in one batch."""


@cache
def data() -> dict[str, list[Spectrum]]:
    """Return spectra by name; two for each size of pictures: with a white rest, and with a falling one."""
    sizes = {f"{size} px": [picture(size, falling=False), picture(size, falling=True)] for size in SIZES}
    return {"white": [white()], "sound": [sound()], **sizes}


@cache
def oracle(names: tuple[str, ...]) -> tuple[SpectrumDenoiser, list[slice]]:
    """Return all modes of these data, and the slice of each spectrum."""
    eigenvalues, slices = together([spectrum for name in names for spectrum in data()[name]])
    return SpectrumDenoiser(SCHEDULE, eigenvalues), slices


@cache
def times(names: tuple[str, ...], n: int) -> Tensor:
    """Return the default grid for these data."""
    return GRIDS["log-snr"](SCHEDULE, n, sigma_max=highest(float(oracle(names)[0].eigenvalues.max())))


def ends(variance: Variances, n: int) -> dict[str, list[End]]:
    """Return the ends of `n` steps on all `data`."""
    table: dict[str, list[End]] = {}
    for names in TOGETHER:
        modes, slices = oracle(names)
        ratio = variance(modes, times(names, n)) / modes.eigenvalues
        owners = [(name, spectrum) for name in names for spectrum in data()[name]]
        for (name, spectrum), at in zip(owners, slices, strict=True):
            end = End(float((ratio[at] * spectrum.shares).sum()), _furthest(ratio[at]))
            table.setdefault(name, []).append(end)
    return table


def summary(table: dict[str, list[End]]) -> dict[str, End]:
    """Return the ends on white data, on pictures (the worst of all) and on sound."""
    pictures = [end for name in table if name.endswith("px") for end in table[name]]
    worst = [_furthest(torch.tensor(column, dtype=DTYPE)) for column in zip(*pictures, strict=True)]
    return {"white": table["white"][0], "pictures": End(*worst), "sound": table["sound"][0]}


def expected(name: str, n: int) -> dict[str, End]:
    """Return the ends by an independent recursion where there is one; otherwise those of ends_known.py."""
    if name in INDEPENDENT:
        return summary(ends(INDEPENDENT[name], n))
    row = KNOWN[name, n]
    return {"white": End(row[0], row[0]), "pictures": End(*row[1:3]), "sound": End(*row[3:])}


def one(name: str) -> Iterator[Check]:
    """G1: check variances, in three rows for each number of steps."""
    for n in COUNTS:
        reference = expected(name, n)
        for data_name, end in summary(ends(partial(end_variance, SAMPLERS[name]()), n)).items():
            row = f"G1 {name}, {n} steps, {data_name}: variance / truth"
            if (name, "log-snr", n) in RECIPES:
                ok = max(abs(end.place - 1), abs(end.worst - 1)) <= NEAR
                yield Check(row, str(end), f"1 within {NEAR:g}", ok, "recipes use it")
            else:
                ok = max(abs(a - b) for a, b in zip(end, reference[data_name], strict=True)) < 1.5e-4
                yield Check(row, str(end), str(reference[data_name]), ok, "known")


def means(name: str) -> Iterator[Check]:
    """G1: check the share of a mean that is lost because N(0, sigma_T^2) lacks it and the sampler keeps part of x_T.

    From 10 deviations of noise the flow keeps a tenth of x_T, the reverse SDE a hundredth.
    """
    large = TOGETHER[-1]
    error = float(end_shift(SAMPLERS[name](), oracle(large)[0], times(large, 20)).abs().max())
    yield below(f"G1 {name}, 20 steps, 256 px: share lost of a brightness", error, 0.11)


def chain_of_ddpm() -> Iterator[Check]:
    """Check the recipes of DDPM: T ancestral steps on a chain of T."""
    for name, chain in {"linear-beta": LinearChain(), "cosine-beta": CosineChain()}.items():
        modes = SpectrumDenoiser(chain, torch.ones(1, dtype=DTYPE))
        value = float(end_variance(DDPM(), modes, GRIDS["trailing"](chain, 1000)))
        yield close(
            f"G1 ddpm, {name}, 1000 trailing steps, white: variance / truth", value, 1.0, NEAR, "recipes use it"
        )


def few_ancestral_steps() -> Iterator[Check]:
    """G2: check that any number of ancestral steps with the posterior variance gives white data its variance."""
    for std in (0.3, 1.0, 2.0):

        def error(log_snr: float, std: float = std) -> float:
            return std**2 / (1 + std**2 * math.exp(min(log_snr, 700.0)))

        samplers: dict[str, Sampler] = {
            "ddpm": DDPM(error="unit" if std == 1 else error),
            "ddim-eta, eta = 0.5": StochasticDDIM(0.5, error),
            "euler-ancestral": EulerAncestral(error=error),
        }
        modes = SpectrumDenoiser(SCHEDULE, torch.tensor([std**2], dtype=DTYPE))
        for name, sampler in samplers.items():
            off = 0.0
            for n in (1, 2, 5, 10):
                value = float(end_variance(sampler, modes, GRIDS["uniform"](SCHEDULE, n)))
                off = max(off, abs(value / std**2 - 1))
            yield close(f"G2 {name} with error, 1 to 10 steps, deviation {std:g}: variance off by", off, 0.0, 1e-10)


class LikelyPairs(NamedTuple):
    """The share of neighbouring tokens that form a likely pair, and its standard error."""

    share: float
    error: float


def texts(
    sampler: Sampler, n: int, spread: float, rows: int, length: int = 12, seed: int = 0, grid: Grid | None = None
) -> LikelyPairs:
    """Sample texts of a chain with its exact posterior and count likely pairs, truly 0.8 of all.

    Each token has its own level, within exp(+-spread). `grid`: by default `log-snr` over `reach`.
    """
    generator = torch.Generator().manual_seed(seed)
    chain = TokenChain(RectifiedFlow(), levels(spread, rows, length, generator))
    times = grid(chain.schedule, n) if grid else GRIDS["log-snr"](chain.schedule, n, *reach(spread))

    def noise() -> Tensor:
        return torch.randn(rows, length, chain.table.shape[1], generator=generator, dtype=DTYPE)

    start = float(chain.schedule(times[0])[1]) * noise()
    tokens = chain.nearest_tokens(sample(chain, chain.schedule, sampler, start, times, noise))
    likely = (tokens[:, 1:] == (tokens[:, :-1] + 1) % len(chain.table)).to(DTYPE).mean(1)
    return LikelyPairs(float(likely.mean()), float(likely.std()) / math.sqrt(rows))


def levels(spread: float, rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw scales of tokens like the recipes of texts, all of them in random order in each text: (rows, length, 1)."""
    rank = torch.rand(rows, length, generator=generator).argsort(-1).argsort(-1).to(DTYPE)
    return torch.exp(spread * ((2 * rank + 1) / length - 1))[..., None]


def reach(spread: float, dims: int = 16) -> tuple[float, float]:
    """Return the range of levels of the recipes of texts: 0.1 norms of an embedding / exp(spread), 10 x exp(spread)."""
    norm = math.sqrt(dims)
    return 0.1 * norm / math.exp(spread), 10 * norm * math.exp(spread)


def chains_of_tokens() -> Iterator[Check]:
    """G3: check likely pairs in 300 texts of 64 steps; the standard error is 0.007."""
    for name, spread, target in TEXTS:
        share, error = texts(SAMPLERS[name](), 64, spread, 300)
        row = f"G3 {name}, 64 steps, levels within exp(+-{spread:g}): likely pairs"
        yield close(row, share, target, 3 * error, f"standard error {error:.4f}; truth 0.8")


def _furthest(ratio: Tensor) -> float:
    return float(ratio[ratio.log().abs().argmax()])


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    **{f"G1 {name}": partial(one, name) for name in SAMPLERS},
    **{f"G1 {name}, mean": partial(means, name) for name in SAMPLERS},
    "G1 ddpm, chains": chain_of_ddpm,
    "G2 ancestral": few_ancestral_steps,
    "G3 texts": chains_of_tokens,
}
