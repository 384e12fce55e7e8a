"""E1-E4: guidance, and the cases where it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from toolkit.diffusion import PREDICTIONS, Cond, Cosine, autoguidance, classifier_free, clip, conditional, interval
from toolkit.diffusion.guidance import from_paper
from toolkit.diffusion.randomness import normal
from toolkit.verify.check import Check, below, close, true
from toolkit.verify.oracle import DTYPE, GaussianDenoiser, Oracle

SCHEDULE = Cosine()
NULL = 2


class Labelled(Oracle):
    """Two classes N(-1, 0.5^2) and N(1, 0.5^2), and N(0, 1) for the null label; counts its calls and examples."""

    def __init__(self) -> None:
        super().__init__(SCHEDULE)
        self.each = [GaussianDenoiser(SCHEDULE, m, s) for m, s in ((-1.0, 0.5), (1.0, 0.5), (0.0, 1.0))]
        self.calls: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        self.calls.append(len(x_t))
        label = torch.full((len(x_t),), NULL) if cond is None else cond["label"]
        each = t.expand(len(x_t))
        return torch.stack([self.each[int(k)](x_t[i : i + 1], each[i])[0] for i, k in enumerate(label)])


def _setting() -> tuple[Labelled, Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]:
    x_t = normal(0, "x_t", range(4), (3, 2)).to(DTYPE)
    labels = {"label": torch.tensor([0, 1, 1, 0])}
    return Labelled(), x_t, torch.tensor(0.4, dtype=DTYPE), labels, {"label": torch.full((4,), NULL)}


def conventions() -> Iterator[Check]:
    """Check that w = 1 is the conditional model, w = 0 the unconditional one, each without calling the other."""
    model, x_t, t, cond, null = _setting()
    with_cond, without = model(x_t, t, cond), model(x_t, t, null)
    for w, expected, name in ((1.0, with_cond, "conditional"), (0.0, without, "unconditional")):
        model.calls.clear()
        value = classifier_free(model, cond, null, w, rescale=0.7)(x_t, t)
        yield true(f"E1 w = {w:g}: the {name} model bitwise", torch.equal(value, expected))
        yield true(f"E1 w = {w:g}: one call on B examples", model.calls == [4])
    model.calls.clear()
    value = classifier_free(model, cond, null, 3.0)(x_t, t)
    yield true("E1 w = 3: one call on 2 B examples", model.calls == [8])
    yield below("E1 w = 3: uncond + 3 (cond - uncond)", _worst(value - (without + 3 * (with_cond - without))), 1e-14)
    paper = 3 * with_cond - 2 * without
    yield below(
        "E1 from_paper(2): (1 + 2) cond - 2 uncond",
        _worst(classifier_free(model, cond, null, from_paper(2.0))(x_t, t) - paper),
        1e-14,
    )


def commutes() -> Iterator[Check]:
    """Check that guiding eps, x0, v or the velocity is guiding x_hat: affine in it, with weights that sum to 1."""
    model, x_t, t, cond, null = _setting()
    alpha, sigma = SCHEDULE(t)
    guided = classifier_free(model, cond, null, 3.0)(x_t, t)
    for prediction, coefficients in PREDICTIONS.items():
        c = coefficients(alpha, sigma, 0.5)
        with_cond, without = ((model(x_t, t, k) - c.c_skip * x_t) / c.c_out for k in (cond, null))
        back = c.c_skip * x_t + c.c_out * (without + 3 * (with_cond - without))
        yield below(f"E2 guided in {prediction}", _worst(back - guided), 1e-12)


def no_ops() -> Iterator[Check]:
    """Check that autoguidance by the model itself and an interval without t change nothing; and `clip`."""
    model, x_t, t, cond, null = _setting()
    plain, other = conditional(model, cond), conditional(model, null)
    for w in (0.0, 1.0, 2.5):
        yield below(
            f"E3 autoguidance by itself, w = {w:g}",
            _worst(autoguidance(plain, plain, w)(x_t, t) - plain(x_t, t)),
            1e-14,
        )
    strong = autoguidance(plain, other, 2.0)(x_t, t)
    yield below("E3 autoguidance, w = 2: 2 strong - weak", _worst(strong - (2 * plain(x_t, t) - other(x_t, t))), 1e-14)
    guided, lam = classifier_free(model, cond, null, 3.0), float(SCHEDULE.log_snr(t))
    outside = interval(guided, plain, SCHEDULE, lam + 0.1, lam + 1)(x_t, t)
    inside = interval(guided, plain, SCHEDULE, lam - 0.1, lam + 0.1)(x_t, t)
    yield true("E3 interval, outside: unguided bitwise", torch.equal(outside, plain(x_t, t)))
    yield true("E3 interval, inside: guided bitwise", torch.equal(inside, guided(x_t, t)))
    bounded = clip(guided, -0.5, 0.5)(x_t, t)
    yield true("E3 clip: x_hat clamped", torch.equal(bounded, guided(x_t, t).clamp(-0.5, 0.5)))


def rescaling() -> Iterator[Check]:
    """Check that phi = 0 changes nothing, and phi = 1 gives each example the deviation of the conditional x_hat."""
    model, x_t, t, cond, null = _setting()
    with_cond = model(x_t, t, cond)
    plain, full, half = (classifier_free(model, cond, null, 4.0, phi)(x_t, t) for phi in (0.0, 1.0, 0.5))
    without = model(x_t, t, null)
    yield below("E4 phi = 0", _worst(plain - (without + 4 * (with_cond - without))), 1e-14)
    ratio = full.flatten(1).std(1) / with_cond.flatten(1).std(1)
    yield close("E4 phi = 1: deviation / conditional deviation", float(ratio.mean()), 1.0, 1e-12)
    yield below("E4 phi = 1/2: between the two", _worst(half - (plain + full) / 2), 1e-13)


def _worst(difference: Tensor) -> float:
    return float(difference.abs().max())


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "E1 conventions": conventions,
    "E2 commutes": commutes,
    "E3 no-ops": no_ops,
    "E4 rescaling": rescaling,
}
