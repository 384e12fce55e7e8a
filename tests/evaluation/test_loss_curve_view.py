"""A run's convergence view, on points in the plane."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import torch
from torch import Tensor, nn

import toolkit
from tests.conftest import ROOT
from toolkit import paths
from toolkit import recipe as recipes
from toolkit.diffusion import Cosine, LogNormal
from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.level_loss import (
    LEVELS,
    empirical_loss,
    join,
    level_density,
    linear_loss,
    loss_by_level,
    spectrum,
)
from toolkit.discovery import find
from toolkit.evaluation.loss_curve_view import levels, plot, training_batches, view
from toolkit.evaluation.self_loss import held_out_batches
from toolkit.verify.oracle import GaussianDenoiser

POINTS = str(ROOT / "tests" / "points.py")


def test_where_a_run_of_points_stands(tmp_path: Path) -> None:
    kind = find(POINTS)
    assert isinstance(kind.default_recipe, dict)
    changes = {"train": {**kind.default_recipe["train"], "steps": 200, "previews": 0}}
    recipe = recipes.from_mapping({**kind.default_recipe, **changes, "modality": POINTS})
    run = toolkit.train(recipe, out=tmp_path / "run", notify=lambda line: None)
    real = kind(*recipes.validate_for(recipe, kind))
    real.open(paths.cache(), lambda line: None)
    found = levels(run, list(held_out_batches(real, 0)))
    # where nothing is heard the best guess is the mean of a label; where all is, the point itself
    label = real.dataset("test").take(torch.arange(4000)).cond["label"]
    x = real.encode(real.dataset("test").take(torch.arange(4000)).raw)
    inner = torch.stack([x[label == k].var(0).mean() for k in (0, 1)]).mean()
    assert 0.8 < float(found.mean[-1] / inner) < 1.25  # 1.14 after so short a training
    # below a log-SNR of -5 the best loss rises by less than 1 %
    assert float(found.mean[0]) < 3e-4 and bool((found.mean[found.log_snr >= -5].diff() > 0).all())
    near = levels(run, training_batches(real, 0)).mean / found.mean
    assert float((near - 1).abs().max()) < 0.5  # 4,000 points are too many to recite
    path = view(run, lambda width: toolkit.load(tmp_path / "run", ema=width, modality=POINTS), real, tmp_path / "out")
    with PIL.Image.open(path) as picture:
        assert sum(count > 0 for count in picture.convert("L").histogram()) > 20


class Notes(Denoiser):
    """Denoiser of whole numbers at places (x, y); known notes are a condition by a name of this modality's own."""

    net, schedule = nn.Identity(), Cosine()

    def embed(self, data: Tensor, cond: Cond | None = None) -> Tensor:
        return torch.stack([data.double(), -data.double()], 1)

    def conditions(self, data: Tensor, cond: Cond) -> dict[str, Tensor]:
        return {**cond, "notes": data[:, None]}

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        assert cond is not None and set(cond) == {"label", "notes"}
        return self.embed(cond["notes"][:, 0]) + cond["label"][:, None, None]

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError


def test_what_is_known_of_examples_is_told_by_the_name_that_their_denoiser_has_for_it() -> None:
    run: Any = SimpleNamespace(denoiser=Notes(), device=torch.device("cpu"), dtype=None)
    batches = [(torch.arange(6).reshape(2, 3) + k, {"label": torch.tensor([2, 2])}) for k in (0, 5)]
    found = levels(run, batches)
    assert torch.allclose(found.mean, torch.full_like(found.mean, 4.0))  # off by the label, 2, everywhere


def test_a_plot_with_everything_in_it(tmp_path: Path) -> None:
    schedule, x = Cosine(), torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    few = torch.tensor([6.0, 2.0, 0.0, -3.0], dtype=torch.float64)
    curves = {f"ema {std}": loss_by_level(GaussianDenoiser(schedule, 0.0, std), x, schedule, few) for std in (0.5, 1.0)}
    floors = {"linear": (few, linear_loss(spectrum(x), few)), "training set": (few, empirical_loss(x, x, few).mean)}
    path = plot(tmp_path / "levels.png", curves, floors, (LEVELS, level_density(LogNormal(), schedule, LEVELS)))
    with PIL.Image.open(path) as image:
        colours = image.convert("RGB").getcolors(1 << 20)
    assert len(colours) > 100
    assert plot(path, {"one": join([curves["ema 1.0"]])}, {}) == path and list(tmp_path.iterdir()) == [path]
