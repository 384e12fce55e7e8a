"""The measure of ends: its spectra, its exactness, its oracle of tokens, by brute force; and that it sees mistakes."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.sampler_ends import MORE, row
from toolkit import recipe as recipes
from toolkit.diffusion import (
    DDIM,
    GRIDS,
    SAMPLERS,
    Cosine,
    EulerAncestral,
    RectifiedFlow,
    SDEDPMSolver2M,
    sample,
)
from toolkit.diffusion.grid import highest
from toolkit.verify import checks_ends
from toolkit.verify.checks_ends import COUNTS, INDEPENDENT, RECIPES, one, texts
from toolkit.verify.ends_known import KNOWN
from toolkit.verify.measure import CachedSchedule, end_shift, end_variance, linear_response
from toolkit.verify.oracle import DTYPE, GaussianDenoiser, SpectrumDenoiser, TokenChain
from toolkit.verify.spectra import picture, sound, together, white

ROOT = Path(__file__).parents[2]
FLOW = RectifiedFlow()


def test_pictures_have_the_eigenvalues_of_their_covariance() -> None:
    """0.3 common, the rest white: (0.3 1 1' + 0.7 P) for 16 places, P the projection beside the mean, rescaled."""
    ones = torch.ones(16, 16, dtype=DTYPE)
    flat = 0.3 * ones + 0.7 * 16 / 15 * (torch.eye(16, dtype=DTYPE) - ones / 16)
    assert flat.diagonal().tolist() == pytest.approx([1.0] * 16)
    wanted = torch.linalg.eigvalsh(flat)
    found = picture(4, falling=False)
    assert found.eigenvalues.tolist() == pytest.approx([float(wanted[-1]), float(wanted[0])])
    assert found.shares.tolist() == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("size", [28, 256])
def test_what_falls_falls_by_the_square_of_its_frequency(size: int) -> None:
    found = picture(size, falling=True)
    assert float(found.shares.sum()) == pytest.approx(1) and float(found.eigenvalues[0]) == pytest.approx(0.3 * size**2)
    assert float(found.shares[0]) == pytest.approx(0.3)
    counts = found.shares * size**2 / found.eigenvalues  # how many modes each stands for
    assert float(counts.sum()) == pytest.approx(size**2) and counts.tolist() == pytest.approx(counts.round().tolist())
    # from the lowest frequency to the corner, at size / sqrt(2), in steps of a group
    assert float(found.eigenvalues[1:].max() / found.eigenvalues[1:].min()) == pytest.approx(size**2 / 2, rel=0.4)


def test_sounds_have_the_density_of_their_chain() -> None:
    """Beside the eigenvalues of the covariance r^|i - j|, which are those of a circle but for its ends."""
    r, n = 0.9, 400
    place = torch.arange(n, dtype=DTYPE)
    wanted = torch.linalg.eigvalsh(r ** (place[:, None] - place).abs())
    found = sound(r, n)
    assert float(found.shares.sum()) == pytest.approx(1)
    assert float((found.shares / found.eigenvalues).sum()) == pytest.approx(1)  # so many modes, of mean 1
    assert float(found.eigenvalues.max()) == pytest.approx((1 + r) / (1 - r))
    for level in (0.1, 1.0, 5.0):  # the share of the variance below a level
        share = float(wanted[wanted < level].sum() / n)
        assert float(found.shares[found.eigenvalues < level].sum()) == pytest.approx(share, abs=0.06)


def test_the_highest_level_follows_the_data() -> None:
    assert highest(1.0) == highest(100.0) == 100 and highest(400.0) == 200


def test_modes_together_are_modes_alone() -> None:
    """One batch of all modes against one response each, for a sampler with memory and noise; and a memo of times."""
    eigenvalues = torch.tensor([0.1, 1.0, 25.0], dtype=DTYPE)
    for name in ("dpm++3m", "sa-solver", "edm-churn"):
        for schedule in (Cosine(), CachedSchedule(Cosine())):
            times, sampler = GRIDS["log-snr"](Cosine(), 7), SAMPLERS[name]()
            got = end_variance(sampler, SpectrumDenoiser(schedule, eigenvalues), times)
            shift = end_shift(sampler, SpectrumDenoiser(schedule, eigenvalues), times)
            for i, value in enumerate(eigenvalues.tolist()):
                alone = GaussianDenoiser(Cosine(), 0.0, math.sqrt(value))
                response = linear_response(sampler, alone, times)
                sigma = float(Cosine()(times[0])[1])
                wanted = float(response[0] ** 2 * sigma**2 + response[1:].square().sum())
                assert float(got[i]) == pytest.approx(wanted, rel=1e-10)
                # the mean of data around 3 when x_T does not have it
                with_mean = GaussianDenoiser(Cosine(), 3.0, math.sqrt(value))
                zero = torch.zeros(1, 1, dtype=DTYPE)
                end = float(sample(with_mean, Cosine(), sampler, zero, times, lambda: zero))  # noqa: B023
                assert end == pytest.approx(3.0 * (1 - float(shift[i])), rel=1e-9)


def test_the_response_is_what_samples_have() -> None:
    """200,000 samples of two steps of three samplers: the standard error of a variance is 0.3 %."""
    draw = torch.Generator().manual_seed(0)
    oracle = SpectrumDenoiser(FLOW, torch.tensor([0.25, 4.0], dtype=DTYPE))

    def noise() -> Tensor:
        return torch.randn(200_000, 2, generator=draw, dtype=DTYPE)

    times = torch.tensor([0.95, 0.6, 0.3, 0.0], dtype=DTYPE)
    for sampler in (SDEDPMSolver2M(), EulerAncestral(error="unit"), SAMPLERS["er-sde"]()):
        x = sample(oracle, FLOW, sampler, 0.95 * noise(), times, noise)
        assert (x.var(0) / end_variance(sampler, oracle, times)).tolist() == pytest.approx([1, 1], abs=0.012)


def test_white_noise_added_to_correlated_data_helps_only_in_part() -> None:
    """With a picture's own mean error a pixel gets much of its variance back, its brightness nothing."""
    data = picture(64, falling=False)
    counts = data.shares / data.eigenvalues * 64**2

    def error(log_snr: float) -> float:
        return float((counts * data.eigenvalues / (1 + data.eigenvalues * math.exp(log_snr))).sum() / counts.sum())

    modes = SpectrumDenoiser(FLOW, data.eigenvalues)
    times = GRIDS["log-snr"](FLOW, 20, sigma_max=highest(float(data.eigenvalues[0])))
    plain, told = (end_variance(EulerAncestral(error=e), modes, times) / modes.eigenvalues for e in (None, error))
    pixel = [float((ratio * data.shares).sum()) for ratio in (plain, told)]
    assert pixel == pytest.approx([0.606, 0.882], abs=0.001)
    assert float(told[0]) == pytest.approx(float(plain[0]), rel=1e-2)


def test_the_posterior_of_a_chain_is_the_sum_over_all_texts() -> None:
    """3^4 texts, each token with a level of its own, at three times; and deep in the noise and out of it."""
    scales = torch.tensor([[0.5], [2.0], [1.0], [0.7]], dtype=DTYPE).expand(2, 4, 1)
    chain = TokenChain(FLOW, scales, tokens=3, dims=2, stay=0.6)
    assert chain.following.sum(1).tolist() == pytest.approx([1.0] * 3)
    assert chain.following[[0, 1, 2], [1, 2, 0]].tolist() == pytest.approx([0.6] * 3)
    assert chain.table.norm(dim=1).tolist() == pytest.approx([math.sqrt(2)] * 3)
    x_t = torch.tensor([0.3, -0.8, 1.1, 0.4, -0.2, 0.9, 0.1, -1.3], dtype=DTYPE).reshape(1, 4, 2)
    x_t = torch.cat([x_t, -0.4 * x_t])
    for t in (0.3, 0.6, 0.95):
        weights = torch.zeros(2, 4, 3, dtype=DTYPE)
        for text in itertools.product(range(3), repeat=4):
            prior = math.prod(float(chain.following[a, b]) for a, b in itertools.pairwise(text))
            gap = x_t - (1 - t) * scales * chain.table[list(text)]
            weight = prior * (-gap.square().sum((1, 2)) / (2 * t**2)).exp()
            for place, token in enumerate(text):
                weights[:, place, token] += weight
        wanted = weights / weights.sum(-1, keepdim=True)
        time = torch.tensor(t, dtype=DTYPE)
        assert float((chain.posterior(x_t, time) - wanted).abs().max()) < 1e-12
        assert torch.equal(chain(x_t, time), chain.posterior(x_t, time) @ chain.table * scales)
    # where a network's float32 would overflow, each place is still a distribution
    for t in (1e-6, 1 - 1e-9):
        found = chain.posterior(1e4 * x_t, torch.tensor(t, dtype=DTYPE))
        assert bool(found.isfinite().all()) and float((found.sum(-1) - 1).abs().max()) < 1e-12
    text = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    assert torch.equal(chain.nearest_tokens(chain.table[text] * scales), text)


def test_texts_of_a_sampler_that_is_cold_are_too_likely() -> None:
    """16 ancestral steps at spread 5: 0.85, twelve standard errors above the truth; 0.80 with a good one."""
    cold, good = texts(EulerAncestral(), 16, 5.0, 600), texts(SAMPLERS["dpm++3m"](), 32, 5.0, 600)
    assert cold.share > 0.825 and abs(good.share - 0.8) < 3 * good.error and 0.003 < good.error < 0.007


def test_every_sampler_has_its_ends_known() -> None:
    assert set(KNOWN) == {(name, n) for name in SAMPLERS if name not in INDEPENDENT for n in COUNTS}


def test_what_recipes_use_is_held_to_two_percent() -> None:
    """All but texts, which have no variance that matters (G3)."""
    used = set()
    for path in ROOT.glob("recipes/*/*.toml"):
        recipe = recipes.load(f"{path.parent.name}/{path.stem}")
        chosen = recipe.sample
        if recipe.modality != "text":
            name, grid = (v if isinstance(v, str) else str(v["name"]) for v in (chosen.sampler, chosen.grid))
            used.add((name, grid, chosen.steps))
    assert used == set(RECIPES)


def test_a_worse_sampler_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks_ends.SAMPLERS, "dpm++3m", DDIM)
    assert [r.ok for r in one("dpm++3m")] == [False] * 9
    monkeypatch.setitem(checks_ends.SAMPLERS, "ddpm", partial(EulerAncestral, 0.99))
    assert [r.ok for r in one("ddpm")] == [False] * 9


def test_the_document_says_what_the_command_prints() -> None:
    lines = (ROOT / "docs/samplers.md").read_text().splitlines()
    for name in ("dpm++3m", "euler-ancestral", "sa-solver"):
        assert row(f"`{name}`", partial(end_variance, SAMPLERS[name]())) in lines
    for name, sampler in MORE.items():
        assert row(name, partial(end_variance, sampler)) in lines


def test_together() -> None:
    eigenvalues, where = together([white(), picture(4, falling=False)])
    assert eigenvalues[where[0]].tolist() == [1.0]
    assert eigenvalues[where[1]].tolist() == pytest.approx([4.8, 0.7 * 16 / 15])
