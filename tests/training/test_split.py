"""A step does not depend on how its batch is computed: whole, in parts, or on several ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolkit import recipe as recipes
from toolkit.diffusion import Cond, RectifiedFlow, RegressionDenoiser
from toolkit.diffusion.randomness import Draws
from toolkit.discovery import find
from toolkit.modality import Conditioning, Examples, InMemory
from toolkit.nn import UNet
from toolkit.nn.dropout import Dropout
from toolkit.recipe import build
from toolkit.training import loop
from toolkit.training.batches import Batches

BATCH, CPU = 8, torch.device("cpu")
SPLITS = ([range(0, 8, 2), range(1, 8, 2)], [range(3), range(3, 4), range(4, 8)], [[i] for i in range(8)])
CASES = {
    "pictures": ("image/digits", {"model.preset": "tiny", "model.width": "16", "model.dropout": "0.2"}),
    "augmented pictures": ("image/digits", {"model.preset": "tiny", "model.width": "16", "data.shift": "2"}),
    "texts of unequal length": ("text/names", {"model.preset": "smoke", "model.width": "64", "model.depth": "2"}),
    "running text": ("text/shakespeare", {"model.preset": "smoke", "model.width": "64", "model.depth": "1"}),
    "sounds": ("audio/drums", {"model.preset": "tiny", "model.dropout": "0.2", "data.speed": "0.1"}),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_the_same_for_any_split(case: str, cache: Path) -> None:
    name, changes = CASES[case]
    recipe = recipes.override(recipes.load(name), {**changes, "train.batch": str(BATCH)})
    kind = find(recipe.modality)
    modality = kind(*recipes.validate_for(recipe, kind))
    modality.open(cache, lambda text: None)
    denoiser = build.denoiser(recipe, modality)
    config = replace(build.fit_config(recipe, denoiser, modality.facts, 10, CPU, False), dtype=None, ema=(0.05,))
    state = loop.start(denoiser, config)
    denoiser.train()
    wake(denoiser.net)
    batches = Batches(modality, modality.dataset("train"), BATCH, 0, recipe.diffusion.label_drop)
    assert state.drops == (float(changes.get("model.dropout", 0)) > 0)

    def gradient(parts: Sequence[Sequence[int]]) -> Tensor:
        denoiser.zero_grad()
        for part in parts:
            (loop.batch_loss(batches, config, state, part)[0] * len(part) / BATCH).backward()
        return torch.cat([p.grad.flatten() for p in denoiser.net.parameters() if p.grad is not None])

    whole = gradient([range(BATCH)])
    assert float(whole.norm()) > 0
    torch.manual_seed(7)  # nothing is taken from the global generator
    for split in SPLITS:
        # float32 sums in another order: 0.1 to 1.4e-6 were measured
        assert float((gradient(split) - whole).norm()) < 4e-6 * float(whole.norm())
    state.step += 1
    assert float((gradient([range(BATCH)]) - whole).norm()) > 1e-2 * float(whole.norm())


def wake(net: nn.Module) -> None:
    """Give what starts at zero a value, so that every part of the network has a say."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))


class Net(nn.Module):
    """One linear map with dropout behind it."""

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 64)
        self.drop = Dropout(p)
        self.outer = nn.Linear(64, 2)

    def forward(self, x: Tensor, c_noise: Tensor, cond: dict[str, Tensor]) -> Tensor:
        h = torch.tanh(self.inner(torch.cat([x, c_noise[:, None]], 1)))
        output: Tensor = self.outer(self.drop(h, cond.get("dropout")))
        return output


DATA = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


def source(step: int, positions: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    return DATA[[(step * 8 + p) % 64 for p in positions]], {}


def fresh(config: loop.Config, p: float) -> loop.State:
    torch.manual_seed(0)
    return loop.start(RegressionDenoiser(Net(p), RectifiedFlow(), "flow"), config)


@pytest.mark.parametrize("accumulate", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_accumulating_changes_neither_loss_nor_gradient(accumulate: int, p: float) -> None:
    """Parts of unequal size too, and no more parts than examples; the norm is that of the mean over the batch."""
    config = loop.Config(steps=6, batch=8, lr=1e-2, warmup=0, clip=1e9)
    whole = list(loop.fit(source, config, fresh(config, p)))
    parts = replace(config, accumulate=accumulate)
    for a, b in zip(whole, loop.fit(source, parts, fresh(parts, p)), strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5) and a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)


def test_resuming_with_dropout_gives_the_same_bits() -> None:
    config = loop.Config(steps=10, batch=8, lr=1e-2, warmup=0)
    whole = fresh(config, 0.3)
    losses = [done.loss.hex() for done in loop.fit(source, config, whole)]
    half = fresh(config, 0.3)
    steps = loop.fit(source, config, half)
    first = [next(steps).loss.hex() for _ in range(4)]
    torch.rand(1000)  # what ran in between does not matter
    other = fresh(config, 0.3)
    other.restore({k: {n: t.clone() for n, t in g.items()} for k, g in half.groups().items()}, half.scalars())
    assert first + [done.loss.hex() for done in loop.fit(source, config, other)] == losses


def test_dropout_keeps_the_mean_and_is_off_in_sampling() -> None:
    net = UNet(1, 1, [16], dropout=0.25)
    layers = [m for m in net.modules() if isinstance(m, Dropout)]
    state = loop.start(RegressionDenoiser(net, RectifiedFlow()), loop.Config(steps=1))
    assert layers and state.drops and all(layer.draw is not None for layer in layers)
    layer, keys = layers[0], torch.tensor([[1, -2, i] for i in range(400)])
    x = torch.ones(400, 10, 25)
    kept = layer(x, keys)
    assert kept.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert abs(float(kept.mean()) - 1) < 4 * (1 / 3 / x.numel()) ** 0.5
    assert not torch.equal(kept, layers[1](x, keys))  # layers drop other numbers
    assert torch.equal(kept[5:9], layer(x[5:9], keys[5:9]))
    layer.eval()
    assert layer(x, keys) is x


class Noises(RegressionDenoiser):
    """Keeps what it is given."""

    seen: list[Tensor]

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        self.seen.append(torch.cat([eps, t[:, None].float()], 1))
        return super().loss(x, t, eps, cond)


@pytest.mark.parametrize("stratified", [True, False])
def test_each_step_and_example_has_noise_and_a_time_of_its_own(stratified: bool) -> None:
    config = loop.Config(steps=20, batch=8, stratified=stratified)
    denoiser = Noises(Net(), RectifiedFlow(), "flow")
    denoiser.seen = []
    list(loop.fit(lambda step, positions: (DATA[list(positions)], {}), config, loop.start(denoiser, config)))
    seen = torch.stack(denoiser.seen).flatten(0, 1)
    assert all(len(column.unique()) == 160 for column in seen.T)
    assert abs(float(seen[:, :2].mean())) < 4 / 320**0.5 and abs(float(seen[:, :2].std()) - 1) < 0.16


class Lengths(InMemory):
    """Numbers with lengths."""

    def __init__(self, lengths: Tensor) -> None:
        super().__init__(torch.arange(len(lengths))[:, None].float())
        self.lengths = lengths


class Plain:
    """As much of a modality as `Batches` uses."""

    labels = ()

    def conditioning(self) -> Conditioning:
        return Conditioning((1,))

    def encode(self, raw: Tensor) -> Tensor:
        return raw


class Moved(Conditioning):
    """Adds a number that is drawn."""

    def batch(self, examples: Examples, draws: Draws) -> Examples:
        return Examples(examples.raw + 0.01 * draws.uniform("noise", 1), examples.cond)


class Labelled(Plain):
    """Examples of two labels, varied in training."""

    labels = ("a", "b")

    def conditioning(self) -> Conditioning:
        return Moved((1,))


def test_each_step_draws_anew_what_is_augmented_and_which_labels_are_hidden() -> None:
    """Every step is an epoch, so steps have the same examples, but in two epochs' orders."""
    data = InMemory(torch.arange(32)[:, None].float(), {"label": torch.arange(32) % 2})
    batches = Batches(Labelled(), data, 32, 0, 0.4)  # type: ignore[arg-type]
    seen = []
    for step in range(3):
        x, cond = batches(step, range(32))
        rows = batches.indices(step, range(32))
        assert torch.equal(x.floor()[:, 0], rows.float())
        hidden = cond["label"] == 2
        assert torch.equal(cond["label"][~hidden], (rows % 2)[~hidden]) and 4 < int(hidden.sum()) < 22
        seen.append((x[:, 0] - rows, hidden, rows))
    for (noise, hidden, rows), (other, others, order) in zip(seen, seen[1:], strict=False):
        assert not torch.allclose(noise, other, atol=1e-4)
        assert not torch.equal(hidden, others) and not torch.equal(rows, order)


@pytest.mark.parametrize("size", [1000, 1024, 1021, 150])
def test_batches_are_of_like_length_for_any_size_of_data(size: int) -> None:
    """Padding costs the same whether the number of examples is a multiple of the batch or not."""
    lengths = torch.randint(1, 101, (size,), generator=torch.Generator().manual_seed(0))
    batches = Batches(Plain(), Lengths(lengths), 16, 0, 0.0)  # type: ignore[arg-type]
    computed = filled = 0
    seen: list[int] = []
    for step in range(5 * size // 16):
        rows = batches.indices(step, range(16))
        seen += rows.tolist()
        computed += 16 * int(lengths[rows].max())
        filled += int(lengths[rows].sum())
    assert computed / filled < (1.25 if size > 200 else 1.4)
    # a batch that is shared by two epochs is of like length too
    shared = [e * size // 16 for e in range(1, 40) if e * size % 16]
    lengths_there = [lengths[batches.indices(step, range(16))].double() for step in shared]
    assert not shared or sum(float(part.max() / part.mean()) for part in lengths_there) / len(shared) < 1.45
    # every epoch is a permutation all the same
    for epoch in range(4):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == list(range(size))
    assert seen[:size] != seen[size : 2 * size]


def test_a_data_set_smaller_than_a_batch_is_taken_in_turn() -> None:
    batches = Batches(Plain(), Lengths(torch.arange(1, 6)), 16, 0, 0.0)  # type: ignore[arg-type]
    seen = torch.cat([batches.indices(step, range(16)) for step in range(5)]).tolist()
    assert all(sorted(seen[5 * e : 5 * e + 5]) == list(range(5)) for e in range(16))
