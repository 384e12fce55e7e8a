"""A denoiser that is told its own last x_hat: when it is, by which calls, and that nothing else is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolkit.diffusion import (
    DDIM,
    SAMPLERS,
    Cond,
    Denoise,
    Denoiser,
    RectifiedFlow,
    Sqrt,
    autoguidance,
    classifier_free,
    clip,
    conditional,
    interval,
    sample,
    trajectory,
)
from toolkit.diffusion.grid import uniform
from toolkit.diffusion.window import windowed
from toolkit.verify.oracle import GaussianDenoiser


class Counting(Denoiser):
    """x_hat = c + estimate, where c is the condition "plus": counts calls in its output, and keeps what it was told."""

    self_conditioning = True

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


def numbers(denoise: Denoise, calls: int, x: Tensor = X) -> list[list[float]]:
    """Return the x_hat of each example, call by call of one trajectory: DDIM asks once a step."""
    times = uniform(RectifiedFlow(), calls)
    return [step.x_hat[:, 0].tolist() for step in trajectory(denoise, RectifiedFlow(), DDIM(), x, times)]


def plus(*values: float) -> dict[str, Tensor]:
    return {"plus": torch.tensor(values)}


def test_the_first_call_knows_nothing_and_each_other_the_one_before() -> None:
    denoiser = Counting()
    assert numbers(conditional(denoiser, None), 4) == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert denoiser.told[0] is None
    assert all(told is gave for told, gave in zip(denoiser.told[1:], denoiser.gave, strict=False))


def test_each_trajectory_begins_with_nothing_and_may_be_of_another_size() -> None:
    denoise = conditional(Counting(), None)
    assert numbers(denoise, 3) == numbers(denoise, 3) == [[1, 1], [2, 2], [3, 3]]
    assert numbers(denoise, 2, torch.zeros(5, 3)) == [[1] * 5, [2] * 5]


def test_trajectories_of_one_object_do_not_meet() -> None:
    """Taken in turn, a step of this and a step of that."""
    cond, null = plus(3, 4), plus(1, 1)
    denoiser = Counting()
    for denoise in (
        conditional(denoiser, cond),
        classifier_free(denoiser, cond, null, 2.0),
        windowed(lambda start: conditional(denoiser, cond), 3, 2, [0, 1]),
        clip(autoguidance(conditional(denoiser, cond), conditional(denoiser, null), 2.0), -1e9, 1e9),
    ):
        alone = numbers(denoise, 3)
        times = uniform(RectifiedFlow(), 3)
        one, other = (trajectory(denoise, RectifiedFlow(), DDIM(), X, times) for _ in range(2))
        found = [(a.x_hat[:, 0].tolist(), b.x_hat[:, 0].tolist()) for a, b in zip(one, other, strict=True)]
        assert found == [(x, x) for x in alone] and alone[0] != alone[1]


def test_a_call_outside_a_trajectory_is_told_nothing() -> None:
    denoiser, cond, null = Counting(), plus(3, 4), plus(1, 1)
    plain, guided = conditional(denoiser, cond), classifier_free(denoiser, cond, null, 2.0)
    for denoise in (plain, guided, clip(interval(guided, plain, RectifiedFlow(), -1, 1), -9, 9)):
        first = denoise(X, T)
        numbers(denoise, 3)
        assert torch.equal(denoise(X, T), first) and denoiser.told[-1] is None


def test_one_that_does_not_recall_is_left_alone() -> None:
    denoiser = Counting()
    denoiser.self_conditioning = False
    cond = plus(1, 1)
    for denoise in (conditional(denoiser, {}), classifier_free(denoiser, cond, plus(1, 1), 3.0)):
        assert numbers(denoise, 3) == [[1, 1]] * 3 and set(denoiser.told) == {None}


def test_a_condition_of_the_caller_is_not_changed() -> None:
    cond, null = plus(1, 1), plus(2, 2)
    numbers(conditional(Counting(), cond), 2)
    numbers(classifier_free(Counting(), cond, null, 2.0), 2)
    assert set(cond) == set(null) == {"plus"} and cond["plus"].tolist() == [1, 1]


def test_guidance_recalls_both_halves_each_its_own() -> None:
    denoiser = Counting()
    # one call for both halves: null + 2 (cond - null), which doubles from the first call to the second
    assert numbers(classifier_free(denoiser, plus(3, 4), plus(1, 1), w=2.0), 2) == [[5, 7], [10, 14]]
    told = denoiser.told[1]
    assert len(denoiser.gave) == 2 and told is not None and told[:, 0].tolist() == [3, 4, 1, 1]


def test_autoguidance_recalls_both_models_each_its_own() -> None:
    strong, weak = Counting(), Counting()
    denoise = autoguidance(conditional(strong, plus(3, 4)), conditional(weak, plus(1, 1)), 2.0)
    assert numbers(denoise, 3) == [[5, 7], [10, 14], [15, 21]]
    assert [x[:, 0].tolist() for x in weak.gave] == [[1, 1], [2, 2], [3, 3]]


def test_autoguidance_by_itself_is_told_the_same_twice() -> None:
    """The x_hat of the strong half is not shown to the weak half of the same call, nor in windows."""
    plain = conditional(Counting(), plus(3, 4))
    twice = autoguidance(plain, plain, 2.0)
    parts = windowed(lambda start: twice, 3, 2, [0, 1])
    assert numbers(twice, 3) == numbers(parts, 3) == numbers(plain, 3)


def test_an_interval_recalls_across_its_borders() -> None:
    """Times 1, 0.8 ... 0.2; inside at 0.6 and 0.4: the half that joins there is told the other's x_hat."""
    denoiser, cond, null = Counting(), plus(3, 4), plus(1, 2)
    plain, guided = conditional(denoiser, cond), classifier_free(denoiser, cond, null, 2.0)
    schedule = RectifiedFlow()
    low, high = (float(schedule.log_snr(torch.tensor(t))) for t in (0.7, 0.3))
    # conditional: 3, 6 | 9, 12 | 15; the unconditional half adds 1 to the 6 it joins with: 7, 8
    found = numbers(interval(guided, plain, schedule, low, high), 5)
    assert [x[0] for x in found] == [3, 6, 2 * 9 - 7, 2 * 12 - 8, 15]
    assert [x[1] for x in found] == [4, 8, 2 * 12 - 10, 2 * 16 - 12, 20]


def test_windows_recall_their_own_parts() -> None:
    denoiser = Counting()
    denoise = windowed(lambda start: conditional(denoiser, plus(1.0 + start)), 8, 4, [0, 4])
    times = uniform(RectifiedFlow(), 2)
    steps = list(trajectory(denoise, RectifiedFlow(), DDIM(), torch.zeros(1, 8), times))
    assert [step.x_hat[0].tolist() for step in steps] == [[1] * 4 + [5] * 4, [2] * 4 + [10] * 4]


def test_windows_of_one_object_recall_their_own_parts() -> None:
    """Also within each other, and on both sides of a border."""
    denoiser, x = Counting(), torch.arange(8.0)[None]
    plain, times = conditional(denoiser, None), uniform(RectifiedFlow(), 3)
    once = windowed(lambda start: plain, 8, 4, [0, 4])
    halves = windowed(lambda start: windowed(lambda at: plain, 4, 2, [0, 2]), 8, 4, [0, 4])
    for denoise in (once, halves, interval(once, once, RectifiedFlow(), -1, 1)):
        denoiser.told.clear()
        steps = list(trajectory(denoise, RectifiedFlow(), DDIM(), x, times))
        assert [step.x_hat[0].tolist() for step in steps] == [[k] * 8 for k in (1, 2, 3)]
        parts = len(denoiser.told) // 3
        told, gave = denoiser.told[parts:], denoiser.gave[-3 * parts :]
        assert all(a is b for a, b in zip(told, gave, strict=False))


def test_every_sampler_hands_it_what_the_call_before_gave() -> None:
    for name, kind in SAMPLERS.items():
        denoiser = Counting()
        sample(conditional(denoiser, None), denoiser.schedule, kind(), X, uniform(denoiser.schedule, 4), lambda: X)
        assert denoiser.told[0] is None and len(denoiser.told) >= 4, name
        assert all(told is gave for told, gave in zip(denoiser.told[1:], denoiser.gave, strict=False)), name


def test_the_call_that_takes_the_last_noise_out_is_of_the_trajectory() -> None:
    schedule, denoise = Sqrt(), conditional(Counting(), None)
    times = uniform(schedule, 3)
    steps = list(trajectory(denoise, schedule, DDIM(), X, times, clean=True))
    assert [float(step.x_hat[0, 0]) for step in steps] == [1, 2, 3, 4]
    assert [step.index for step in steps] == [0, 1, 2, 3] and steps[-1].t == steps[-1].s == float(times[-1])
    assert torch.equal(steps[-1].x, steps[-1].x_hat)
    assert torch.equal(sample(denoise, schedule, DDIM(), X, times, clean=True), steps[-1].x)
    assert torch.equal(sample(denoise, schedule, DDIM(), X, times), steps[-2].x)
    assert len(list(trajectory(denoise, schedule, DDIM(), X, times))) == 3
    none_left = trajectory(denoise, RectifiedFlow(), DDIM(), X, uniform(RectifiedFlow(), 3), clean=True)
    assert [step.index for step in none_left] == [0, 1, 2]


def test_the_last_noise_is_taken_out_of_what_is_there_at_its_own_time() -> None:
    schedule, x_T = Sqrt(), torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    gaussian, times = GaussianDenoiser(schedule, 0.3, 0.01), uniform(schedule, 4)
    before, after = list(trajectory(gaussian, schedule, DDIM(), x_T, times, clean=True))[-2:]
    assert torch.equal(after.x, gaussian(before.x, times[-1])) and not torch.equal(after.x, before.x)


def test_plain_functions_take_part() -> None:
    denoiser = Counting()
    half = clip(autoguidance(conditional(denoiser, None), lambda x_t, t: torch.zeros_like(x_t), 0.5), -9, 9)
    assert [x[0] for x in numbers(half, 3)] == [0.5, 1.0, 1.5]
    assert [x[0] for x in numbers(lambda x_t, t: half(x_t, t), 3)] == [0.5, 0.5, 0.5]
