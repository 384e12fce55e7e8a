"""Denoisers made from denoisers: the formulas by hand, and times of which each example has its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import (
    Cond,
    Cosine,
    Denoise,
    NoiseStream,
    autoguidance,
    classifier_free,
    clip,
    conditional,
    interval,
)
from toolkit.diffusion.guidance import from_paper
from toolkit.diffusion.schedule import expand
from toolkit.diffusion.window import windowed
from toolkit.verify.oracle import Oracle

F64 = torch.float64
B, L = 5, 6
SCHEDULE = Cosine()
X = NoiseStream(0, "x_t", range(B), (2, L))().to(F64)
T = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=F64)
LABELS = {"label": torch.tensor([0, 1, 2, 1, 0])}
Rows = slice
Made = Callable[[Rows], Denoise]
"""A denoiser of some of the examples: conditions go with them."""


class Mixing(Oracle):
    """x_hat depends on neighbours, on the noise and on the label, so that none can be taken for another."""

    def __init__(self) -> None:
        super().__init__(SCHEDULE)
        self.calls: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        self.calls.append(len(x_t))
        alpha, sigma = (expand(c, x_t) for c in self.schedule(t))
        label = 0.0 if cond is None else expand(cond["label"], x_t)
        return torch.tanh(alpha * x_t + sigma * x_t.roll(1, -1) + 0.5 * label)


MODEL = Mixing()


def cond(rows: Rows) -> Cond:
    return {"label": LABELS["label"][rows]}


def null(rows: Rows) -> Cond:
    return {"label": torch.full_like(LABELS["label"][rows], 3)}


LEAVES: dict[str, Made] = {
    "conditional": lambda rows: conditional(MODEL, cond(rows)),
    "classifier_free": lambda rows: classifier_free(MODEL, cond(rows), null(rows), 3.0),
    "rescaled": lambda rows: classifier_free(MODEL, cond(rows), null(rows), 3.0, 0.7),
    "w = 0": lambda rows: classifier_free(MODEL, cond(rows), null(rows), 0.0),
    "function": lambda rows: lambda x_t, t: expand(t, x_t) * x_t,
}


def other(rows: Rows) -> Denoise:
    return conditional(MODEL, null(rows))


WRAPPERS: dict[str, Callable[[Made], Made]] = {
    "strong": lambda made: lambda rows: autoguidance(made(rows), other(rows), 2.0),
    "weak": lambda made: lambda rows: autoguidance(other(rows), made(rows), 2.0, 0.5),
    "inside": lambda made: lambda rows: interval(made(rows), other(rows), SCHEDULE, -1.5, 1.5),
    "outside": lambda made: lambda rows: interval(other(rows), made(rows), SCHEDULE, -1.5, 9.0),
    "clip": lambda made: lambda rows: clip(made(rows), -0.4, 0.6),
    "windowed": lambda made: lambda rows: windowed(lambda start: made(rows), L, 4, [0, 1, 2]),
}
# windows of windows are of another length: tests/diffusion/test_recalling.py has some
PAIRS = [pair for pair in itertools.product(WRAPPERS, repeat=2) if pair != ("windowed", "windowed")]


@pytest.mark.parametrize("wrappers", [(), *((name,) for name in WRAPPERS), *PAIRS], ids=" of ".join)
@pytest.mark.parametrize("leaf", LEAVES)
def test_each_example_at_its_own_time_is_as_by_itself(leaf: str, wrappers: tuple[str, ...]) -> None:
    made = LEAVES[leaf]
    for name in reversed(wrappers):
        made = WRAPPERS[name](made)
    together = made(slice(None))(X, T)
    assert together.dtype == F64
    for i in range(B):
        rows = slice(i, i + 1)
        for t in (T[i], T[rows]):
            torch.testing.assert_close(made(rows)(X[rows], t), together[rows], rtol=0, atol=1e-12)
    same = made(slice(None))(X, T[2])
    torch.testing.assert_close(made(slice(None))(X, T[2].expand(B)), same, rtol=0, atol=1e-12)


def test_one_half_alone_is_one_call_and_is_left_as_it_is() -> None:
    model, everyone = Mixing(), slice(None)
    for w, half in ((1.0, cond(everyone)), (0.0, null(everyone))):
        model.calls.clear()
        found = classifier_free(model, cond(everyone), null(everyone), w, rescale=0.7)(X, T)
        assert model.calls == [B] and torch.equal(found, model(X, T, half))
    model.calls.clear()
    classifier_free(model, cond(everyone), null(everyone), 2.0)(X, T)
    assert model.calls == [2 * B]


def test_an_interval_calls_only_what_it_needs() -> None:
    inside, outside = Mixing(), Mixing()
    limited = interval(conditional(inside, LABELS), conditional(outside, LABELS), SCHEDULE, -1.5, 1.5)
    within = SCHEDULE.log_snr(T).abs() <= 1.5
    assert within[2] and not within[0]
    for t, called in ((T, (1, 1)), (T[2].expand(B), (1, 0)), (T[2], (1, 0)), (T[0].expand(B), (0, 1)), (T[0], (0, 1))):
        inside.calls.clear()
        outside.calls.clear()
        limited(X, t)
        assert (len(inside.calls), len(outside.calls)) == called


def test_an_interval_has_its_ends() -> None:
    low, high = (float(SCHEDULE.log_snr(T[i])) for i in (3, 1))
    limited = interval(lambda x_t, t: x_t, lambda x_t, t: -x_t, SCHEDULE, low, high)
    assert (limited(X, T) / X)[:, 0, 0].tolist() == [-1, 1, 1, 1, -1]
    assert [float(limited(X, t)[0, 0, 0] / X[0, 0, 0]) for t in T] == [-1, 1, 1, 1, -1]


def test_numbers_by_hand() -> None:
    """cond = 3 x, null = x: null + w (cond - null) = (1 + 2 w) x; likewise from a weak x to a strong 3 x."""

    class Times(Oracle):
        def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
            assert cond is not None
            return expand(cond["times"], x_t) * x_t

    yes, no = ({"times": torch.full((B,), value)} for value in (3.0, 1.0))
    model = Times(SCHEDULE)
    strong, weak = conditional(model, yes), conditional(model, no)
    for w in (-1.0, 0.0, 0.5, 1.0, 2.0):
        torch.testing.assert_close(classifier_free(model, yes, no, w)(X, T), (1 + 2 * w) * X)
        torch.testing.assert_close(
            autoguidance(conditional(model, yes), conditional(model, no), w)(X, T), (1 + 2 * w) * X
        )
    assert from_paper(2.0) == 3.0
    # at w = 2 it is 5 x where the conditional one is 3 x: a rescaling by phi multiplies by phi 3 / 5 + 1 - phi
    for phi in (0.0, 0.25, 1.0):
        wanted = (5 - 2 * phi) * X
        torch.testing.assert_close(classifier_free(model, yes, no, 2.0, phi)(X, T), wanted)
        torch.testing.assert_close(autoguidance(strong, weak, 2.0, phi)(X, T), wanted)
    assert autoguidance(strong, weak, 1.0, 0.5) is strong
    assert float(clip(conditional(model, yes), -0.25, 0.5)(X, T).min()) == -0.25
    assert float(clip(conditional(model, yes), -0.25, 0.5)(X, T).max()) == 0.5


def test_what_makes_no_sense_is_refused() -> None:
    plain = conditional(MODEL, None)
    for low, high in ((1.0, -1.0), (1.0, 1.0)):
        with pytest.raises(ValueError, match="from low to high"):
            interval(plain, plain, SCHEDULE, low, high)
    with pytest.raises(ValueError, match=r"from low to high, got 1\.0 to -1\.0"):
        clip(plain, 1.0, -1.0)
    assert clip(plain, 1.0, 1.0)(X, T).unique().tolist() == [1.0]
    with pytest.raises(ValueError, match="the halves have other conditions: label; label, mel"):
        classifier_free(MODEL, LABELS, {**LABELS, "mel": X}, 2.0)
