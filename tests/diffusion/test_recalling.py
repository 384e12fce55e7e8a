"""A denoiser that is told its own last x_hat: when it is, by which calls, and that nothing else is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolkit.diffusion import SAMPLERS, Cond, Denoiser, RectifiedFlow, classifier_free, conditional
from toolkit.diffusion.grid import uniform
from toolkit.diffusion.guidance import recalling
from toolkit.diffusion.sampler import sample
from toolkit.diffusion.window import windowed


class Counting(Denoiser):
    """x_hat = c + estimate, where c is the condition "plus": counts calls in its output, and keeps what it was told."""

    recalls = True

    def __init__(self) -> None:
        super().__init__()
        self.net, self.schedule = nn.Identity(), RectifiedFlow()
        self.told: list[Tensor | None] = []
        self.gave: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        cond = cond or {}
        estimate = cond.get("estimate")
        self.told.append(estimate)
        plus = cond["plus"][:, None] if "plus" in cond else 1.0
        self.gave.append((torch.zeros_like(x_t) if estimate is None else estimate) + plus)
        return self.gave[-1]

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError


X, T = torch.zeros(2, 3), torch.tensor(0.5, dtype=torch.float64)


def test_the_first_call_knows_nothing_and_each_other_the_one_before() -> None:
    denoiser = Counting()
    call = recalling(denoiser)
    assert [float(call(X, T, None)[0, 0]) for _ in range(4)] == [1, 2, 3, 4]
    assert denoiser.told[0] is None
    assert all(told is gave for told, gave in zip(denoiser.told[1:], denoiser.gave, strict=False))


def test_each_sampling_begins_with_nothing() -> None:
    denoiser = Counting()
    first, second = conditional(denoiser, None), conditional(denoiser, {"plus": torch.tensor([5.0, 7.0])})
    assert [float(first(X, T)[0, 0]) for _ in range(2)] == [1, 2]
    assert [second(X, T)[:, 0].tolist() for _ in range(2)] == [[5, 7], [10, 14]]
    assert float(first(X, T)[0, 0]) == 3


def test_one_that_does_not_recall_is_left_alone() -> None:
    denoiser = Counting()
    denoiser.recalls = False
    assert recalling(denoiser) is denoiser
    call = conditional(denoiser, {})
    assert [float(call(X, T)[0, 0]) for _ in range(3)] == [1, 1, 1] and denoiser.told == [None] * 3


def test_a_condition_of_the_caller_is_not_changed() -> None:
    cond = {"plus": torch.ones(2)}
    call = conditional(Counting(), cond)
    call(X, T)
    call(X, T)
    assert set(cond) == {"plus"}


def test_guidance_recalls_both_halves_each_its_own() -> None:
    denoiser = Counting()
    cond, null = {"plus": torch.tensor([3.0, 4.0])}, {"plus": torch.tensor([1.0, 1.0])}
    guided = classifier_free(denoiser, cond, null, w=2.0)
    # one call for both halves: null + 2 (cond - null), which doubles from the first call to the second
    assert guided(X, T)[:, 0].tolist() == [5, 7]
    assert guided(X, T)[:, 0].tolist() == [10, 14]
    told = denoiser.told[1]
    assert len(denoiser.gave) == 2 and told is not None and told[:, 0].tolist() == [3, 4, 1, 1]


def test_windows_recall_their_own_parts() -> None:
    denoiser = Counting()

    def part(start: int) -> object:
        return conditional(denoiser, {"plus": torch.full((1,), 1.0 + start)})

    denoise = windowed(part, 8, 4, [0, 4])  # type: ignore[arg-type]
    x = torch.zeros(1, 8)
    assert denoise(x, T)[0].tolist() == [1] * 4 + [5] * 4
    assert denoise(x, T)[0].tolist() == [2] * 4 + [10] * 4


def test_every_sampler_hands_it_what_the_call_before_gave() -> None:
    for name, kind in SAMPLERS.items():
        denoiser = Counting()
        sample(conditional(denoiser, None), denoiser.schedule, kind(), X, uniform(denoiser.schedule, 4), lambda: X)
        assert denoiser.told[0] is None and len(denoiser.told) >= 4, name
        assert all(told is gave for told, gave in zip(denoiser.told[1:], denoiser.gave, strict=False)), name
