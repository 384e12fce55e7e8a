"""Both ends of a trajectory follow the data: through the generator of the product, and from a run's facts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toolkit
from modalities.image import Image
from tests.conftest import ROOT
from tests.run.points_run import forget_copies
from toolkit import recipe as recipes
from toolkit.diffusion import GRIDS, VE, VP, Adaptive, Cosine, LogitNormal, NoiseStream, RectifiedFlow, Topped
from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.grid import highest
from toolkit.discovery import find
from toolkit.errors import UsageError
from toolkit.modality import Facts
from toolkit.recipe import build
from toolkit.recipe.check import validate
from toolkit.run import compose, levels, prepare
from toolkit.run.generator import Generator, read_run
from toolkit.run.train import TrainingRun
from toolkit.training.storage.files import write_json_atomic

POINTS = str(ROOT / "tests" / "points.py")
PIXEL = 0.02


class Flat(Denoiser):
    """E[x | x_t] of pictures of one brightness, N(mean, 1), with noise of PIXEL in each pixel, exactly."""

    def __init__(self, mean: float = 0.0) -> None:
        super().__init__()
        self.schedule, self.net, self.mean = RectifiedFlow(), nn.Identity(), mean

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = (float(v) for v in self.schedule(t))
        pixels, x = x_t[0].numel(), x_t.double() - alpha * self.mean
        both = (alpha * PIXEL) ** 2 + sigma**2
        brightness = x.mean((1, 2, 3), keepdim=True) * alpha / (alpha**2 + both / pixels)
        return (self.mean + brightness + alpha * PIXEL**2 / both * (x - alpha * brightness)).float()

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError


def pictures(side: int, mean: float = 0.0, spread: float | None = None, **sample: Any) -> Generator:
    recipe = recipes.replace(recipes.load("image/folder"), {f"sample.{k}": v for k, v in sample.items()})
    facts = Facts(shape=(1, side, side), count=100, spread=spread)
    return Generator(recipe, Image(Image.Data(), Image.Model(), facts), Flat(mean), torch.device("cpu"))


def brightness(made: Generator, seed: int = 0) -> tuple[float, float]:
    """(mean, deviation) of the brightness of samples, by its exact response to the two draws of noise at the start."""
    side = made.modality.shape[-1]
    stream = NoiseStream(seed, "sample", range(5), made.modality.shape)
    drawn = torch.stack([torch.ones(5), *(stream().mean((1, 2, 3)) for _ in range(2))], 1).double()
    found = made.sample(5, seed=seed).x.double().mean((1, 2, 3))
    response = torch.linalg.lstsq(drawn, found).solution
    torch.testing.assert_close(drawn @ response, found, rtol=0, atol=2e-3)  # there is nothing else in it
    return float(response[0]), float(response[1:].norm()) / side


@pytest.mark.parametrize("side", [28, 32, 64, 128])
def test_the_brightness_of_pictures_of_any_size(side: int) -> None:
    """At the defaults of image/folder, 20 steps. From noise at 100 alone: 0.95, 0.94, 0.82 and 0.60."""
    mean, std = brightness(pictures(side, 1.0, float(side**2)))
    assert std == pytest.approx(1, abs=0.02) and mean == pytest.approx(1, abs=0.02)


def test_what_is_not_measured_is_as_before() -> None:
    """Noise alone at 100: short by 1 / sqrt(1 + side^2 / 100^2), and by side / sqrt(side^2 + 100^2) of a mean of 1."""
    mean, std = brightness(pictures(64, 1.0, steps=200))
    assert std == pytest.approx(1 / math.sqrt(1 + 0.64**2), abs=0.002)
    assert mean == pytest.approx(1 - 0.64 / math.sqrt(1 + 0.64**2), abs=0.002)
    first = next(pictures(64, steps=200).trajectory([0]))
    assert first.t == float(GRIDS["log-snr"](RectifiedFlow(), 200)[0])


@pytest.mark.parametrize("grid", ["log-snr", "karras"])
def test_every_grid_in_levels(grid: str) -> None:
    mean, std = brightness(pictures(64, 1.0, 4096.0, grid=grid, steps=100))
    assert (mean, std) == pytest.approx((1, 1), abs=0.01)


def test_the_grids_that_are_built() -> None:
    flow = RectifiedFlow()

    def first(spec: str | dict[str, Any], spread: float | None) -> float:
        return float(flow.noise_ratio(build.grid(spec, None, spread)(flow, 20)[0]))

    for name in ("log-snr", "karras"):
        assert first(name, 4096.0) == pytest.approx(640, rel=1e-9)
        assert first(name, 50.0) == first(name, None) == pytest.approx(100, rel=1e-9)
        assert first({"name": name, "sigma_max": 50.0}, 4096.0) == pytest.approx(50, rel=1e-9)
        assert first({"name": name, "sigma_min": 0.02}, 4096.0) == pytest.approx(640, rel=1e-9)
    assert build.grid("uniform", None, 4096.0)(flow, 20).equal(GRIDS["uniform"](flow, 20))
    with pytest.raises(UsageError, match="nosuch"):
        build.grid("nosuch", None, 4096.0)


def test_longer_examples_have_more_in_common() -> None:
    facts = Facts(shape=(1, 4000), spread=900.0)
    assert compose.spread(facts, (1, 4000)) == compose.spread(facts, (1, 500)) == 900
    assert compose.spread(facts, (1, 16_000)) == 3600
    assert compose.spread(Facts(shape=(1, 4000)), (1, 16_000)) is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "many"])
def test_a_strange_spread_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="spread"):
        validate(Facts, {"shape": [1, 8, 8], "spread": value}, "facts.json")


def test_the_time_distribution_follows() -> None:
    def law(spread: float | None, **diffusion: Any) -> object:
        recipe = recipes.replace(recipes.load("image/folder"), {f"diffusion.{k}": v for k, v in diffusion.items()})
        facts = Facts(shape=(8,), spread=spread)
        denoiser = Image(Image.Data(), Image.Model(), facts).denoiser(nn.Identity(), RectifiedFlow(), "flow")
        return build.time_distribution(recipe.diffusion, denoiser, facts)

    found = law(4096.0)
    assert isinstance(found, Topped) and found.base == LogitNormal()
    assert (found.share, found.low, found.high) == (0.05, 1.0, highest(4096.0))
    assert law(None) == law(4096.0, top=0.0) == LogitNormal()
    learning = law(4096.0, time="adaptive")
    assert isinstance(learning, Topped) and isinstance(learning.base, Adaptive) and learning.base.high == 640
    assert build.grid("learned", learning)(RectifiedFlow(), 9)[0] < 1
    said = law(4096.0, time={"name": "adaptive", "high": 50.0}, top=0.0)
    assert isinstance(said, Adaptive) and said.high == 50


def test_what_a_schedule_that_ends_early_costs() -> None:
    assert levels.lost_share(RectifiedFlow(), 1e6) == levels.lost_share(Cosine(), 1e6) == pytest.approx(0, abs=1e-12)
    assert levels.lost_share(VE(), 128.0**2) == pytest.approx(1 - 0.8719, abs=1e-3)
    assert levels.lost_share(VP(), 64.0**2) == pytest.approx(1 - 0.9981, abs=1e-3)


def run_of_points(out: Path, notify: Any = lambda line: None, **changes: Any) -> TrainingRun:
    kind = find(POINTS)
    assert not isinstance(kind.default_recipe, str)
    given = {"modality": POINTS, "train": {"steps": 2, "batch": 32, "previews": 0}, **changes}
    return prepare.prepare(recipes.from_mapping({**kind.default_recipe, **given}), out, notify=notify)


def test_a_run_keeps_what_was_measured(tmp_path: Path) -> None:
    said: list[str] = []
    plan = run_of_points(tmp_path / "run", said.append)
    data = plan.modality.encode(plan.modality.dataset("train").take(torch.arange(4000)).raw)
    exact = float(torch.linalg.eigvalsh(torch.cov(data.T))[-1])
    assert plan.modality.facts.spread == pytest.approx(exact, rel=0.05)
    assert isinstance(plan.state.time_distribution, Topped) and not any("sigma/alpha" in line for line in said)
    list(plan.run())
    assert read_run(tmp_path / "run")[1].spread == plan.modality.facts.spread
    made = toolkit.load(tmp_path / "run", modality=POINTS)
    # another modality object whose data is open, as evaluation has it
    kind = find(POINTS)
    opened = kind(kind.Data(), kind.Model())
    opened.open(Path("unused"), lambda line: None)
    assert opened.facts.spread is None and made.on(opened).modality.facts.spread == made.modality.facts.spread


def test_a_run_from_before_goes_on_as_it_was(tmp_path: Path) -> None:
    list(run_of_points(tmp_path / "run", diffusion={"top": 0.0}).run())
    path = tmp_path / "run" / "facts.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    del facts["spread"]
    write_json_atomic(path, facts)
    recipe = tmp_path / "run" / "recipe.toml"
    old = "".join(line for line in recipe.read_text("utf-8").splitlines(True) if not line.startswith("top ="))
    recipe.write_text(old, encoding="utf-8")
    forget_copies(tmp_path / "run")
    assert read_run(tmp_path / "run")[1].spread is None
    plan = run_of_points(tmp_path / "run", diffusion={})
    assert plan.resumed and plan.modality.facts.spread is None and plan.state.time_distribution == LogitNormal()
    assert toolkit.load(tmp_path / "run", modality=POINTS).modality.facts.spread is None


def test_a_schedule_that_ends_too_low_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    run_of_points(tmp_path / "run", said.append, diffusion={"schedule": {"name": "ve", "sigma_max": 0.5}})
    assert any("ends at sigma/alpha = 0" in line and "flow or cosine" in line for line in said)
