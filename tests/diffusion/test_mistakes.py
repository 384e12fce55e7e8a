"""docs/mistakes.md, measured: the wrong formula misses a closed form by a stated amount, and ours hits it.

Data N(0, S^2) unless said otherwise, so that every exact network is linear and variances follow by recursion.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from toolkit.diffusion import (
    DDIM,
    DDPM,
    GRIDS,
    DiscreteSchedule,
    DPMSolver3M,
    LinearChain,
    RegressionDenoiser,
    clip,
    sample,
    trajectory,
)
from toolkit.diffusion.sampler import at
from toolkit.diffusion.stochastic import posterior
from toolkit.nn import FourierEmbedding
from toolkit.verify.checks_losses import Says
from toolkit.verify.checks_orders import COUNTS, SCHEDULE, oracles, starts
from toolkit.verify.measure import exact_order, final_variance, log_uniform
from toolkit.verify.oracle import DTYPE, GaussianDenoiser

S = 0.5
CHAIN = LinearChain()
BETA = [0.0, *CHAIN.betas.tolist()]
ALPHA_BAR = CHAIN.log_alpha_bar.exp().tolist()
ORACLE = GaussianDenoiser(CHAIN, 0.0, S)
ALL = GRIDS["trailing"](CHAIN, 1000)


def exact_eps(i: int) -> float:
    """E[eps | x_i] = this times x_i."""
    return math.sqrt(1 - ALPHA_BAR[i]) / (ALPHA_BAR[i] * S**2 + 1 - ALPHA_BAR[i])


def reverse_variance(
    keep: Callable[[int], float],
    remove: Callable[[int], float],
    add: Callable[[int], float],
    said: Callable[[int], float] = exact_eps,
) -> float:
    """Variance after x <- keep x - remove network(x) + add z, over i = T ... 1, with network(x) = said x."""
    v = 1.0
    for i in range(1000, 0, -1):
        v = (keep(i) - remove(i) * said(i)) ** 2 * v + add(i) ** 2
    return v


def root(i: int) -> float:
    return 1 / math.sqrt(1 - BETA[i])


def noise(i: int) -> float:
    """The deviation that Ho et al. add, sigma_i^2 = beta_i; none in the last step."""
    return math.sqrt(BETA[i]) if i > 1 else 0.0


def ours() -> float:
    return final_variance(DDPM("beta"), ORACLE, ALL)


def test_ours_is_ddpm_and_hits_the_data() -> None:
    written = reverse_variance(root, lambda i: root(i) * BETA[i] / math.sqrt(1 - ALPHA_BAR[i]), noise)
    # the recursion starts from variance 1, ours from V_T = 1 - 3e-5
    assert abs(ours() - written) < 1e-6
    assert abs(ours() - S**2) < 0.002


def test_1_reverse_mean_divided_by_the_root_of_1_minus_beta() -> None:
    wrong = reverse_variance(root, lambda i: root(i) * BETA[i] / math.sqrt(1 - BETA[i]), noise)
    assert abs(ours() - S**2) < 0.002 < 0.05 < abs(wrong - S**2)
    share = math.sqrt((1 - ALPHA_BAR[1]) / (1 - BETA[1]))  # of the noise removed, at the last step
    assert abs(share - 0.01) < 1e-4


def test_2_reverse_step_without_the_factor_and_without_noise() -> None:
    wrong = reverse_variance(root, lambda i: root(i) * math.sqrt(BETA[i]), lambda i: 0.0)
    assert wrong < 1e-6 and abs(ours() - S**2) < 0.002  # all samples fall on one point


class Linear(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor, c_noise: Tensor, cond: object) -> Tensor:
        return self.gain * x


def test_3_a_random_target_teaches_nothing() -> None:
    """Against a fresh target the exact network is worse than one that says 0; against eps it reaches the floor."""
    t = torch.full((4,), 0.3, dtype=DTYPE)
    alpha, sigma = (float(c) for c in CHAIN(t[0]))
    v = alpha**2 * S**2 + sigma**2
    x = S * torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=DTYPE)[:, None]  # with eps: all four signs, so exact means
    eps = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=DTYPE)[:, None]
    gain = sigma / v * math.sqrt(v)  # the network sees x_t / sqrt(V_t), since sigma_data = S
    exact = RegressionDenoiser(Linear(gain), CHAIN, "eps", S)
    silent = RegressionDenoiser(Says(torch.zeros((), dtype=DTYPE)), CHAIN, "eps", S)
    assert abs(float(exact.loss(x, t, eps).mean()) - alpha**2 * S**2 / v) < 1e-12
    assert abs(float(silent.loss(x, t, eps).mean()) - 1) < 1e-12
    output = exact.network(alpha * x + sigma * eps, t)
    fresh = (torch.cat([output, output]) - torch.cat([eps.abs(), -eps.abs()])).square().mean()
    assert abs(float(fresh) - (1 + sigma**2 / v)) < 1e-12 and float(fresh) > 1.2


def test_4_a_network_that_predicts_the_previous_image() -> None:
    """E[x_{i-1} | x_i] put where the reverse mean wants eps."""

    def previous(i: int) -> float:
        return ORACLE.reverse_gain(i / 1000, (i - 1) / 1000)

    wrong = reverse_variance(root, lambda i: root(i) * BETA[i] / math.sqrt(1 - ALPHA_BAR[i]), noise, previous)
    assert abs(wrong - S**2) > 0.05 and abs(ours() - S**2) < 0.002


def test_5_noising_with_beta_alone() -> None:
    """Signal and noise after T single steps, by the chain itself."""
    signal, variance = 1.0, 0.0
    for beta in BETA[1:]:
        signal, variance = math.sqrt(1 - beta) * signal, (1 - beta) * variance + beta
    alpha, sigma = CHAIN(torch.ones((), dtype=DTYPE))
    assert abs(float(alpha) - signal) < 1e-12 and abs(float(sigma) ** 2 - variance) < 1e-12
    assert math.sqrt(1 - BETA[1000]) - signal > 0.98  # theirs: the picture is nearly all there at t = T


@pytest.mark.parametrize(("scale", "collapsed"), [(1 / 3072, True), (1.0, False)])
def test_6_mean_reconstruction_with_summed_divergence_collapses(scale: float, collapsed: bool) -> None:
    """z = m x + tau n for one unit-variance pixel of 3,072, best linear decoder: scale * error + KL, by search."""
    m, tau = torch.meshgrid(torch.linspace(0, 1.2, 241), torch.linspace(0.05, 1.2, 231), indexing="ij")
    error = tau**2 / (m**2 + tau**2)
    loss = scale * error + (m**2 + tau**2 - 1 - torch.log(tau**2)) / 2
    best = int(loss.argmin())
    explained = 1 - float(error.flatten()[best])
    assert explained < 1e-3 if collapsed else abs(explained - 0.5) < 0.02
    darkest = torch.sigmoid(torch.linspace(-40, 40, 1001)).min()
    assert float((darkest + 1) ** 2) >= 1  # a sigmoid on data in [-1, 1] is at least 1 away from black


def test_7_the_end_is_normal_and_not_uniform() -> None:
    """Distribution of x_T for data +-1, exactly, against both."""
    alpha, sigma = (float(c) for c in CHAIN(torch.ones((), dtype=DTYPE)))
    x = torch.linspace(-4, 4, 801, dtype=DTYPE)
    exact = (torch.special.ndtr((x - alpha) / sigma) + torch.special.ndtr((x + alpha) / sigma)) / 2
    uniform = ((x / math.sqrt(3) + 1) / 2).clamp(0, 1)  # of the same variance
    assert float((exact - torch.special.ndtr(x)).abs().max()) < 1e-4
    assert float((exact - uniform).abs().max()) > 0.05


def test_8_the_bound_needs_all_three_terms() -> None:
    """L_T + sum L_{t-1} + L_0 (variance beta) is just above the entropy of the data; its middle alone is not."""
    middle = 0.0
    for i in range(2, 1001):
        c1, _, beta, tilde = posterior(at(CHAIN, i / 1000), at(CHAIN, (i - 1) / 1000))
        error = S**2 * (1 - ALPHA_BAR[i]) / ORACLE.variance(i / 1000)  # E |x - x_hat|^2
        middle += 0.5 * (math.log(beta / tilde) - 1 + (tilde + c1**2 * error) / beta)
    last = ALPHA_BAR[1000]
    prior = 0.5 * (last * S**2 - last - math.log1p(-last))
    rest = S**2 * (1 - ALPHA_BAR[1]) / ORACLE.variance(0.001)
    reconstruction = 0.5 * (math.log(2 * math.pi * BETA[1]) + rest / BETA[1])
    entropy = 0.5 * math.log(2 * math.pi * math.e * S**2)
    assert 0 <= prior + middle + reconstruction - entropy < 0.05
    assert abs(middle - entropy) > 2 and abs(-middle - entropy) > 2


def test_9_learnable_noise_learns_to_be_none() -> None:
    """eps = mu + k z: the best loss falls with k to 0 at k = 0, where x_T is a point and not noise."""
    alpha, sigma = (float(c) for c in CHAIN(torch.tensor(0.5, dtype=DTYPE)))

    def best(k: float) -> float:
        return k**2 * alpha**2 * S**2 / (alpha**2 * S**2 + sigma**2 * k**2) if k else 0.0

    assert best(0.0) < best(0.5) < best(1.0)
    assert ALPHA_BAR[1000] * S**2 < 2e-5  # variance of x_T at k = 0; it must be 1:
    assert abs(ORACLE.variance(1.0) - 1) < 1e-4


def test_alpha_bar_used_as_alpha() -> None:
    wrong = reverse_variance(
        lambda i: 1 / math.sqrt(ALPHA_BAR[i]),
        lambda i: math.sqrt(1 - ALPHA_BAR[i]) / math.sqrt(ALPHA_BAR[i]),
        noise,
    )
    assert abs(wrong - S**2) > 0.05 and abs(ours() - S**2) < 0.002


@pytest.mark.parametrize(("T", "left"), [(400, 0.132), (300, 0.219), (200, 0.364), (100, 0.603), (50, 0.777)])
def test_fewer_steps_need_larger_betas(T: int, left: float) -> None:
    one = torch.ones((), dtype=DTYPE)
    assert abs(float(LinearChain(T, rescale=False)(one)[0]) - left) < 1e-3
    assert float(LinearChain(T)(one)[0]) < 0.02


def test_quadratic_betas_squared_instead_of_rooted() -> None:
    one = torch.ones((), dtype=DTYPE)
    squared = DiscreteSchedule(torch.linspace(1e-4, 0.02, 1000, dtype=DTYPE) ** 2)
    rooted = DiscreteSchedule(torch.linspace(1e-4**0.5, 0.02**0.5, 1000, dtype=DTYPE) ** 2)
    assert float(squared(one)[0]) > 0.9 and float(rooted(one)[0]) < 0.05


def test_large_variance_with_few_steps() -> None:
    """For data that is one point, the last of 20 steps shows the network noise of the right size, or not."""
    times = GRIDS["trailing"](CHAIN, 20)[:-1]
    point = GaussianDenoiser(CHAIN, 0.0, 0.0)
    expected = point.variance(float(times[-1]))
    assert abs(final_variance(DDPM("beta-tilde"), point, times) / expected - 1) < 1e-9
    assert final_variance(DDPM("beta"), point, times) / expected > 2


def test_clipping_must_move_the_noise_estimate_too() -> None:
    """A step from t to t must return x_t; with x_hat clipped and eps_hat kept it does not."""
    p, x_t = at(CHAIN, 0.4), torch.full((1, 1), 2.0, dtype=DTYPE)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return torch.full_like(x, 1.5)

    clipped = clip(denoise, -1, 1)(x_t, torch.tensor(0.4))
    eps_kept = (x_t - p.alpha * 1.5) / p.sigma
    eps_ours = (x_t - p.alpha * clipped) / p.sigma
    assert abs(float(p.alpha * clipped + p.sigma * eps_kept - x_t)) > 0.05
    assert abs(float(p.alpha * clipped + p.sigma * eps_ours - x_t)) < 1e-15
    close_by = sample(clip(denoise, -1, 1), CHAIN, DDIM(), x_t, torch.tensor([0.4, 0.4 - 1e-9], dtype=DTYPE))
    assert abs(float(close_by - x_t)) < 1e-6


def test_time_in_0_to_1_is_nearly_constant_to_a_sinusoid_of_period_10000() -> None:
    t = torch.linspace(0, 1, 1000)
    phase = t[:, None] * torch.exp(-math.log(1e4) * torch.arange(32) / 32)
    naive = torch.cat([phase.cos(), phase.sin()], 1)
    c_noise = -CHAIN.log_snr(torch.arange(1, 1001, dtype=DTYPE) / 1000) / 8
    fourier = FourierEmbedding(64)(c_noise)
    assert int((naive.std(0) > 0.1).sum()) <= 16
    assert int((fourier.std(0) > 0.1).sum()) >= 60


def test_leading_grid_never_visits_the_noise_and_integer_strides_miss_the_grid() -> None:
    chain, n = LinearChain(), 7
    assert float(GRIDS["leading"](chain, n)[0]) < 0.9 and float(GRIDS["trailing"](chain, n)[0]) == 1.0
    times = GRIDS["trailing"](chain, n)
    strided = times[:-1] - (1000 // n) / 1000
    assert float((strided - times[1:]).abs().max()) > 0.0009
    landed = [s.s for s in trajectory(ORACLE, chain, DDIM(), torch.ones(1, 1, dtype=DTYPE), times)]
    assert landed == times[1:].tolist()


def test_posterior_variance_is_not_beta() -> None:
    tilde = posterior(at(CHAIN, 0.001), at(CHAIN, 0.0))[3]
    assert tilde == 0.0 and BETA[1] == 1e-4  # the first step is exactly known, and beta would blur it


class HalfCurve(DPMSolver3M):
    """The third-order multistep formula with half the weight on its second difference, as it is often released."""

    def step(self, denoise, schedule, x_t, t, s, noise, memory):  # type: ignore[no-untyped-def]
        past = list(memory.past)
        x_s = super().step(denoise, schedule, x_t, t, s, noise, memory)
        if len(past) < 2:
            return x_s
        (p2, x2), (p1, x1), (p, x_hat) = *past, memory.past[-1]
        q = at(schedule, s)
        h = q.lam - p.lam
        near, far = (x_hat - x1) * h / (p.lam - p1.lam), (x1 - x2) * h / (p1.lam - p2.lam)
        curve = (near - far) / ((p.lam - p2.lam) / h)
        return x_s + q.alpha * ((math.expm1(-h) + h) / h**2 - 0.5) * curve


def test_third_order_multistep_with_half_a_curve_is_second_order() -> None:
    grids = [log_uniform(SCHEDULE, n) for n in COUNTS]
    right = exact_order(DPMSolver3M(), oracles()["mixture"], grids, starts(), 4)
    wrong = exact_order(HalfCurve(), oracles()["mixture"], grids, starts(), 4)
    assert abs(right - 3) < 0.2 and abs(wrong - 2) < 0.2


def test_a_start_up_step_hides_an_order() -> None:
    """The same formula measures 3 with an exact history and 2 without."""
    grids = [log_uniform(SCHEDULE, n) for n in COUNTS]
    without = exact_order(DPMSolver3M(), oracles()["mixture"], grids, starts(), 0)
    assert abs(without - 2) < 0.2


def test_mixing_noise_linearly_loses_variance() -> None:
    share = 0.5
    linear = share**2 + (1 - share) ** 2
    kept = linear / (share**2 + (1 - share) ** 2)  # divided by the root of the sum of squares
    assert linear == 0.5 and kept == 1.0
