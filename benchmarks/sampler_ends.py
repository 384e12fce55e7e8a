"""Variance of samples over the truth, for every sampler, as a table.

    python benchmarks/sampler_ends.py

`--texts 4000` prints instead how texts of a chain come out, where 0.8 is right: on the grid `log-snr`, or with
`--learned` on the one that an adaptive time distribution finds from the exact cross-entropy. `--known` prints the lines
of toolkit/verify/ends_known.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from toolkit.diffusion import (
    DDPM,
    SAMPLERS,
    Adaptive,
    EDMChurn,
    EulerAncestral,
    RectifiedFlow,
    Sampler,
    SASolver,
    SDEDPMSolver2M,
    SDEDPMSolver3M,
)
from toolkit.diffusion.grid import Grid, learned
from toolkit.verify.checks_ends import COUNTS, INDEPENDENT, ends, levels, reach, summary, texts
from toolkit.verify.measure import end_variance
from toolkit.verify.oracle import SpectrumDenoiser, TokenChain

MORE: dict[str, Sampler] = {
    "`ddpm`, beta": DDPM("beta"),
    '`ddpm`, `ddim-eta`, `euler-ancestral`, error = "unit"': EulerAncestral(error="unit"),
    "`edm-churn`, as in the paper": EDMChurn(20.0, inflate=1.003, coordinates="sigma"),
    "`sde-dpm++2m`, eta 0.5": SDEDPMSolver2M(0.5),
    "`sde-dpm++3m`, eta 0.5": SDEDPMSolver3M(0.5),
    "`sa-solver`, 2 and 2 nodes, tau 1": SASolver(2, 2, 1.0),
    "`sa-solver`, 3 and 3 nodes, tau 1": SASolver(3, 3, 1.0),
}
"""Options beside the defaults."""


def row(name: str, variance: Callable[[SpectrumDenoiser, Tensor], Tensor]) -> str:
    """One line: the three counts in each cell."""
    found = [ends(variance, n) for n in COUNTS]
    cells = []
    for where in found[0]:
        places = [max((end.place for end in f[where]), key=lambda v: abs(math.log(v))) for f in found]
        cells.append(" / ".join(f"{place:.3f}" for place in places))
    worst = [max((e.worst for f in one.values() for e in f), key=lambda v: abs(math.log(v))) for one in found]
    return f"| {name} | " + " | ".join([*cells, " / ".join(f"{w:.2f}" for w in worst)]) + " |"


def learned_grid(spread: float, rows: int = 2000, length: int = 12, rounds: int = 64) -> Grid:
    """The grid of an adaptive time distribution after it saw the cross-entropy of the exact posterior everywhere."""
    low, high = reach(spread)
    time_distribution, draw = Adaptive(low, high, 1.0, warmup=1, horizon=1000), torch.Generator().manual_seed(9)
    for k in range(rounds):
        chain = TokenChain(RectifiedFlow(), levels(spread, rows, length, draw))
        tokens = torch.randint(len(chain.table), (rows, 1), generator=draw)
        for _ in range(length - 1):
            following = torch.multinomial(chain.following[tokens[:, -1]], 1, generator=draw)
            tokens = torch.cat([tokens, following], 1)
        t = chain.schedule.time(-2 * torch.tensor(math.log(low) + (k + 0.5) / rounds * math.log(high / low)))
        alpha, sigma = chain.schedule(t)
        eps = torch.randn(rows, length, chain.table.shape[1], generator=draw, dtype=torch.float64)
        found = chain.posterior(alpha * chain.table[tokens] * chain.scales + sigma * eps, t)
        unknown = -found.gather(-1, tokens[..., None]).clamp(min=1e-300).log().mean((1, 2))
        time_distribution.observe(t.expand(rows), unknown, chain.schedule)
    return partial(learned, time_distribution=time_distribution)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS))
    parser.add_argument("--learned", action="store_true")
    parser.add_argument("--known", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.texts:
        for spread in (5.0, 0.0):
            grid = learned_grid(spread) if args.learned else None
            for name in args.samplers:
                told = [texts(SAMPLERS[name](), n, spread, args.texts, grid=grid) for n in args.steps]
                cells = " | ".join(f"{t.share:.3f} +- {t.error:.3f}" for t in told)
                print(f"| `{name}` | {spread:g} | {cells} |", flush=True)
    elif args.known:
        for name in (name for name in SAMPLERS if name not in INDEPENDENT):
            for n in COUNTS:
                s = summary(ends(partial(end_variance, SAMPLERS[name]()), n))
                line = [s["white"].place, *s["pictures"], *s["sound"]]
                print(f'    ("{name}", {n}): ({", ".join(f"{v:.4f}" for v in line)}),')
    else:
        heads = [
            f"sampler, {' / '.join(map(str, COUNTS))} steps",
            *ends(SpectrumDenoiser.ddim_variance, 10),
            "worst mode",
        ]
        print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for name, make in SAMPLERS.items():
            print(row(f"`{name}`", partial(end_variance, make())))
        for name, sampler in MORE.items():
            print(row(name, partial(end_variance, sampler)))


if __name__ == "__main__":
    main()
