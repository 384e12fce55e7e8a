"""A time budget with a clock of its own: trainings whose speed changes, and what becomes of their length and rates."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from toolkit.training.budget import Budget
from toolkit.training.course import Course
from toolkit.training.loop import Config

BUDGET = 3600.0
Speed = Callable[[float, int], float]
"""(seconds so far, step) -> seconds of the next step."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A training by the clock as `toolkit.run.train` leads it, without a network: only time passes."""

    def __init__(self, guess: float, speed: Speed, seconds: float = BUDGET, draws: float = 0.0, saves: float = 0.0):
        """`guess`: seconds of a step as measured before; `draws`: of the pictures at the end, `saves`: of a checkpoint
        every two minutes."""
        self.clock, self.speed = Clock(), speed
        self.seconds, self.draws, self.saves = (
            seconds,
            draws,
            saves,
        )  # draws: at a second a step, also its worth in steps
        self.course = Course.of(max(2, int(0.97 * seconds / guess)))
        self.step, self.spent = 0, 0.0
        self.rates: list[float] = []
        self.config = Config(steps=1, lr=1.0, warmup=100)

    def session(self, until: Callable[[Run], bool] = lambda run: False) -> None:
        budget, saved = Budget(self.seconds, self.spent, self.clock), self.clock.now
        while self.step < self.course.steps:
            self.rates.append(self.config.lr_at(self.step, self.course))
            self.clock.now += self.speed(self.clock.now, self.step)
            self.step += 1
            budget.count_step()
            if self.step < self.course.steps:
                left = budget.steps_left(self.course.progress(self.step), self.draws, 120)
                if left is not None:
                    before = self.course.progress(self.step)
                    self.course = self.course.correct(self.step, self.step + left)
                    assert self.course.progress(self.step) == (before if left else 1.0)  # bent, without a jump
            if self.clock.now - saved > 120:
                self.clock.now += self.saves
                budget.count_save()
                saved = self.clock.now
            self.spent = budget.spent
            if until(self):
                return
        self.clock.now += self.saves + self.draws


SPEEDS: dict[str, tuple[float, Speed]] = {
    "steady": (1.0, lambda now, step: 1.0),
    "halves at 50 %": (1.0, lambda now, step: 1.0 if now < 0.5 * BUDGET else 2.0),
    "doubles at 30 %": (1.0, lambda now, step: 1.0 if now < 0.3 * BUDGET else 0.5),
    "halves at 93 %": (0.5, lambda now, step: 0.5 if now < 0.93 * BUDGET else 1.0),
    "measured ten times too slow": (10.0, lambda now, step: 1.0),
    "measured ten times too fast": (0.1, lambda now, step: 1.0),
    "a step of ten minutes": (1.0, lambda now, step: 600.0 if step == 900 else 1.0),
    "first step compiles": (0.2, lambda now, step: 60.0 if step == 0 else 0.2),
    "every other minute beside another program": (1.0, lambda now, step: 1.0 if now // 60 % 2 else 8.0),
    "lengths differ": (1.0, lambda now, step: 0.5 + (step * 7 % 16) / 15),
}


@pytest.mark.parametrize("name", SPEEDS)
def test_a_run_ends_with_its_budget_and_at_a_rate_of_almost_nothing(name: str) -> None:
    run = Run(*SPEEDS[name])
    run.session()
    assert run.clock.now == pytest.approx(BUDGET, rel=0.05)
    rates = run.rates
    risen = rates[run.config.warmup - 1 :]
    assert all(a >= b for a, b in zip(risen, risen[1:]))
    assert rates[-1] < 0.01 * max(rates)
    assert len(run.course.plans) < 40


def test_the_rate_follows_the_share_of_time_that_is_used() -> None:
    run = Run(*SPEEDS["halves at 50 %"])
    when: list[tuple[float, float]] = []
    run.session(lambda run: when.append((run.clock.now / BUDGET, run.course.progress(run.step))) or False)  # type: ignore[func-returns-value]
    # behind by at most what is lost until the next mark
    assert max(abs(used - progress) for used, progress in when) < 0.08
    slow = Run(*SPEEDS["measured ten times too slow"])
    when.clear()
    slow.session(lambda run: when.append((run.clock.now / BUDGET, run.course.progress(run.step))) or False)  # type: ignore[func-returns-value]
    assert max(abs(used - progress) for used, progress in when) < 0.03


@pytest.mark.parametrize(("draws", "saves"), [(0.0, 6.0), (300.0, 6.0), (0.0, 90.0), (300.0, 90.0)])
def test_pictures_and_checkpoints_are_paid_from_the_budget(draws: float, saves: float) -> None:
    run = Run(1.0, lambda now, step: 1.0, draws=draws, saves=saves)
    run.session()
    assert run.clock.now == pytest.approx(BUDGET, rel=0.02)


def test_a_pause_is_not_the_pace() -> None:
    clock = Clock()
    budget = Budget(BUDGET, clock=clock)
    for seconds in (1.0, 600.0, 1.0, 1.0):
        clock.now += seconds
        budget.count_step()
    assert budget.per_step() == 1.0 and budget.spent == 603
    # the first picture loads the plotting once; one after it that took twice its worth says that the next will
    clock.now += 30
    budget.count_pictures(10.0)
    clock.now += 20
    budget.count_pictures(10.0)
    assert budget.steps_left(0.5, 100.0, 1e9) == 3600 - 653 - 200


def test_a_pause_longer_than_the_budget_still_lets_the_rate_fall() -> None:
    run = Run(1.0, lambda now, step: 20_000.0 if step == 1800 else 1.0)
    run.session()
    assert 0 < run.clock.now - 21_800 < 0.04 * BUDGET
    assert run.rates[-1] < 0.01 and max(a - b for a, b in zip(run.rates[100:], run.rates[101:])) < 0.05


@pytest.mark.parametrize("cut", [0.01, 0.3, 0.97])
def test_a_resumed_run_goes_on_with_what_is_left(cut: float) -> None:
    run = Run(1.0, lambda now, step: 1.0)
    run.session(lambda run: run.spent > cut * BUDGET)
    run.clock.now += 86_400  # while it was stopped
    # what a checkpoint holds
    run.course = Course.read(json.loads(json.dumps(run.course.plans)))
    run.spent = json.loads(json.dumps(run.spent))
    before = run.course.progress(run.step)
    run.speed = lambda now, step: 2.0
    run.session()
    assert run.clock.now - 86_400 == pytest.approx(BUDGET, rel=0.05)
    assert run.course.progress(run.step) == 1 and before == pytest.approx(cut, abs=0.02)
    assert run.rates[-1] < 0.01


def test_a_changed_budget_bends_the_course() -> None:
    run = Run(1.0, lambda now, step: 1.0)
    run.session(lambda run: run.spent > 0.5 * BUDGET)
    run.seconds = 2 * BUDGET
    run.session()
    assert run.clock.now == pytest.approx(2 * BUDGET, rel=0.05)


@pytest.mark.parametrize("seconds", [1.0, 3.0, 10.0])
def test_a_budget_of_few_steps(seconds: float) -> None:
    run = Run(1.0, lambda now, step: 1.0, seconds)
    run.session()
    assert 2 <= run.step <= max(2, seconds)


def test_without_a_correction_the_course_is_step_by_steps() -> None:
    course = Course.of(12)
    assert [course.progress(step) for step in range(14)] == [min(1.0, step / 12) for step in range(14)]


def test_a_course_is_straight_from_correction_to_end_and_can_be_written() -> None:
    course = Course.of(100).correct(50, 150).correct(100, 110)
    assert course.progress(25) == 0.25 and course.progress(50) == 0.5
    assert course.progress(100) == 0.75 and course.progress(105) == 0.875 and course.progress(110) == 1
    again = Course.read(json.loads(json.dumps(course.plans)))
    assert again == course
    assert [again.progress(s).hex() for s in range(110)] == [course.progress(s).hex() for s in range(110)]
    # what was done does not change
    assert [course.progress(s) for s in range(50)] == [Course.of(100).progress(s) for s in range(50)]
    for wrong in ([], [[1, 5]], [[0, 5], [3, 2]], [[0, 5], [4, 6], [2, 8]], [[0]], "course", [[0, "x"]]):
        with pytest.raises(ValueError):
            Course.read(wrong)  # type: ignore[arg-type]


def test_a_course_that_was_ended_is_done_there_and_as_before_until_there() -> None:
    ended = Course.of(100).correct(50, 50)
    assert ended.steps == 50 and ended.progress(50) == 1 and ended.progress(25) == 0.25 and ended.progress(49) == 0.49
