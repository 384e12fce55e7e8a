"""The loop: randomness by position, exact repetition, what a bad step may change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from toolkit.diffusion import RectifiedFlow, RegressionDenoiser
from toolkit.modality import Conditioning
from toolkit.training.batches import Batches
from toolkit.training.course import Course
from toolkit.training.ema import PowerEMA, gamma_of_width
from toolkit.training.loop import Config, State, batch_loss, fit, start


class Net(nn.Module):
    """A small network with every kind of parameter the loop treats in its own way."""

    hidden_layers = ("inner",)

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 16)
        self.label = nn.Embedding(3, 16)
        self.outer = nn.Linear(16, 2)

    def forward(self, x: Tensor, c_noise: Tensor, cond: dict[str, Tensor]) -> Tensor:
        h = self.inner(torch.cat([x, c_noise[:, None]], 1)) + self.label(cond["label"])
        output: Tensor = self.outer(torch.tanh(h))
        return output


DATA = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
CONFIG = Config(steps=12, batch=8, lr=1e-2, warmup=3)


def batches(step: int, positions: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    at = torch.tensor([(step * 8 + p) % 64 for p in positions])
    return DATA[at], {"label": at % 3}


def fresh(config: Config = CONFIG) -> State:
    torch.manual_seed(0)
    return start(RegressionDenoiser(Net(), RectifiedFlow(), "flow"), config)


def tensors(state: State) -> dict[str, Tensor]:
    return {f"{g}/{k}": v.clone() for g, group in state.groups().items() for k, v in group.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("cut", [1, 2, 5, 11])
@pytest.mark.parametrize(("optimizer", "slot"), [("adamw", "exp_avg_sq"), ("muon", "momentum")])
def test_resuming_gives_the_same_bits(cut: int, optimizer: str, slot: str) -> None:
    config = replace(CONFIG, optimizer=optimizer)
    whole = fresh(config)
    losses = [done.loss.hex() for done in fit(batches, config, whole)]
    first = fresh(config)
    steps = fit(batches, config, first)
    half = [next(steps).loss.hex() for _ in range(cut)]
    second = fresh(config)
    second.restore({k: {n: t.clone() for n, t in g.items()} for k, g in first.groups().items()}, first.scalars())
    half += [done.loss.hex() for done in fit(batches, config, second)]
    assert half == losses
    assert same(tensors(whole), tensors(second))
    assert f"optimizer/inner.weight/{slot}" in tensors(whole)
    assert "optimizer/label.weight/exp_avg_sq" in tensors(whole)


@pytest.mark.parametrize("cut", [3, 4, 6, 9, 12])
def test_resuming_on_a_corrected_course_gives_the_same_bits(cut: int) -> None:
    corrections = {4: 20, 9: 16}  # of twelve steps at first

    def train(state: State, until: int = 99) -> list[tuple[str, str]]:
        found = []
        for done in fit(batches, CONFIG, state):
            found.append((done.loss.hex(), done.lr.hex()))
            if done.step in corrections and state.course is not None:
                state.course = state.course.correct(done.step, corrections[done.step])
            if done.step == until:
                break
        return found

    whole, first, second = fresh(), fresh(), fresh()
    whole.course = first.course = Course.of(12)
    numbers = train(whole)
    half = train(first, cut)
    second.restore(first.groups(), json.loads(json.dumps(first.scalars())))
    assert len(numbers) == 16 and half + train(second) == numbers and same(tensors(whole), tensors(second))
    # the record alone gives the rates again
    assert whole.course is not None
    again = Course.read(json.loads(json.dumps(whole.scalars()))["course"])
    assert [CONFIG.lr_at(step, again).hex() for step in range(16)] == [lr for _, lr in numbers]


def test_averages_are_of_the_length_that_the_training_came_to() -> None:
    """Each step's share of the average, tracked by itself, is that of a training planned for so many steps."""
    state, track = fresh(), []
    state.course = Course.of(12)
    for done in fit(batches, CONFIG, state):
        if done.step == 7:
            state.course = state.course.correct(7, 40)
        if done.step == 30:
            state.course = state.course.correct(30, 34)
        track.append(state.denoiser.net.outer.bias.detach().double().clone())  # type: ignore[union-attr, operator]
    assert len(track) == 34
    for width in CONFIG.ema:
        edges = (torch.arange(35, dtype=torch.float64) / 34) ** (gamma_of_width(width) + 1)
        wanted = (edges.diff()[:, None] * torch.stack(track)).sum(0)
        assert float((state.ema.weights(width)["outer.bias"] - wanted).abs().max()) < 1e-6


def test_accumulating_is_one_large_batch() -> None:
    once, thrice = fresh(), fresh()
    config = replace(CONFIG, accumulate=4)
    a = [done.loss for done in fit(batches, CONFIG, once)]
    b = [done.loss for done in fit(batches, config, thrice)]
    assert a == pytest.approx(b, rel=1e-5)
    pairs = zip(once.denoiser.parameters(), thrice.denoiser.parameters(), strict=True)
    gap = max(float((x - y).detach().abs().max()) for x, y in pairs)
    assert 0 < gap < 1e-5


def test_a_gradient_is_the_mean_however_a_batch_is_split() -> None:
    """AdamW does not see a factor on all gradients, nor does it after clipping; their norm does."""
    norms = [
        [done.grad_norm for done in fit(batches, replace(CONFIG, accumulate=parts, clip=1e9), fresh())]
        for parts in (1, 2, 4)
    ]
    assert norms[1] == pytest.approx(norms[0], rel=1e-4) and norms[2] == pytest.approx(norms[0], rel=1e-4)


def test_half_the_rate_after_a_rollback_moves_half_as_far_and_is_restored() -> None:
    whole, half = fresh(), fresh()
    half.lr_factor = 0.5
    start_at = tensors(whole)["model/outer.bias"]
    full, less = next(fit(batches, CONFIG, whole)), next(fit(batches, CONFIG, half))
    assert less.lr == full.lr / 2 == CONFIG.lr_at(0) / 2
    # biases are not decayed, so the first step of AdamW is the rate times a sign
    moved, moved_less = (tensors(state)["model/outer.bias"] - start_at for state in (whole, half))
    assert torch.allclose(moved_less, moved / 2, rtol=1e-4)
    half.skipped_in_a_row = 2
    again = fresh()
    again.restore(half.groups(), half.scalars())
    assert (again.step, again.updates, again.skipped_in_a_row, again.lr_factor) == (1, 1, 2, 0.5)
    assert next(fit(batches, CONFIG, again)).lr == CONFIG.lr_at(1) / 2


def test_averages_count_the_steps_that_were_taken() -> None:
    """Those left out are no part of an average: with bad steps between, it is that of the good ones alone."""

    def poisoned(step: int, positions: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        x, cond = batches(step, positions)
        return (x * float("nan") if step in (0, 1, 4) else x), cond

    state = fresh()
    ema = PowerEMA(dict(state.denoiser.net.named_parameters()), CONFIG.ema)
    count = 0
    for done in fit(poisoned, CONFIG, state):
        if done.taken:
            count += 1
            ema.update(count, dict(state.denoiser.net.named_parameters()))
    assert count == 9 and same(ema.state_dict(), state.ema.state_dict())


def test_two_ranks_hold_the_batch_of_one() -> None:
    state = fresh()
    state.step = 3
    whole = batch_loss(batches, CONFIG, state, range(8))[0]
    halves = [batch_loss(batches, CONFIG, state, part)[0] for part in (range(4), range(4, 8))]
    assert float((sum(halves) / 2 - whole).detach().abs()) < 1e-6


@pytest.mark.parametrize("where", ["data", "weight"])
def test_a_bad_step_changes_nothing(where: str) -> None:
    def poisoned(step: int, positions: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        x, cond = batches(step, positions)
        return (x * float("nan") if step == 4 else x), cond

    state = fresh()
    steps = fit(poisoned if where == "data" else batches, CONFIG, state)
    for _ in range(4):
        next(steps)
    if where == "weight":
        with torch.no_grad():
            state.denoiser.net.outer.bias.fill_(float("inf"))  # type: ignore[union-attr]
    before = tensors(state)
    bad = next(steps)
    assert not bad.taken and state.skipped_in_a_row == 1 and state.updates == 4 and state.step == 5
    after = tensors(state)
    assert all(torch.equal(before[k], after[k]) for k in before)
    if where == "data":
        assert next(steps).taken and state.skipped_in_a_row == 0 and state.updates == 5
        assert all(bool(v.isfinite().all()) for v in tensors(state).values())


def test_learning_rate() -> None:
    config = Config(steps=100, lr=2.0, warmup=10)
    rates = [config.lr_at(i) for i in range(101)]
    assert rates[0] == pytest.approx(0.2, rel=1e-3)
    assert rates[50] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)
    assert max(rates) < 2.0 and rates.index(max(rates)) == 9
    assert replace(config, decay="constant").lr_at(77) == 2.0


def test_decay_spares_biases_and_embeddings() -> None:
    optimizer = fresh(replace(CONFIG, weight_decay=0.3)).optimizer
    groups = {g["weight_decay"]: set(g["names"]) for g in optimizer.param_groups}
    assert groups == {0.3: {"inner.weight", "outer.weight"}, 0.0: {"inner.bias", "outer.bias", "label.weight"}}


class FakeData:
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return 10


class FakeModality:
    labels = ("a", "b")

    def conditioning(self) -> Conditioning:
        return Conditioning((1,))


def test_an_epoch_visits_everything_once_and_the_next_in_another_order() -> None:
    source = Batches(FakeModality(), FakeData(), total=4, seed=3, label_drop=0)  # type: ignore[arg-type]
    seen = torch.cat([source.indices(step, range(4)) for step in range(5)]).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    again = Batches(FakeModality(), FakeData(), total=4, seed=3, label_drop=0)  # type: ignore[arg-type]
    assert again.indices(3, [1, 2]).tolist() == seen[13:15]
    other = Batches(FakeModality(), FakeData(), total=4, seed=4, label_drop=0)  # type: ignore[arg-type]
    assert torch.cat([other.indices(step, range(4)) for step in range(5)]).tolist() != seen


class LongAndShort(FakeData):
    lengths = torch.tensor([1, 100, 2, 99, 3, 98, 4, 97, 5, 96])


def test_examples_of_like_length_come_together_and_everything_still_comes_once() -> None:
    source = Batches(FakeModality(), LongAndShort(), total=5, seed=3, label_drop=0)  # type: ignore[arg-type]
    epochs = [[source.indices(2 * epoch + half, range(5)) for half in (0, 1)] for epoch in range(20)]
    for first, second in epochs:
        assert sorted(torch.cat([first, second]).tolist()) == list(range(10))
        assert {int(i) % 2 for i in first} != {int(i) % 2 for i in second}
        assert all(len({int(i) % 2 for i in half}) == 1 for half in (first, second))
    # both kinds come first now and then, and not always in the same order
    assert {int(first[0]) % 2 for first, _ in epochs} == {0, 1}
    assert len({tuple(first.tolist()) for first, _ in epochs}) > 5
