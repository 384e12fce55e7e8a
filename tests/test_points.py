"""The one-file modality: what it reads, writes and draws, and that a loop of one's own learns it in seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from toolkit.diffusion import GRIDS, Heun, RectifiedFlow, RegressionDenoiser, conditional, sample
from toolkit.diffusion.randomness import normal
from toolkit.discovery import find
from toolkit.modality import Modality
from toolkit.recipe import from_mapping, validate_for

FILE = str(Path(__file__).parent / "points.py")


@cache
def opened() -> Modality:
    kind = find(FILE)
    points = kind(kind.Data(), kind.Model())
    points.open(Path("unused"), lambda line: None)
    return points


def off_curve(raw: Tensor, label: int) -> Tensor:
    """Distance of each point to the half circle of its label: upper around (0, 0), lower around (1, 0.5)."""
    a = torch.linspace(0, torch.pi, 400)
    curve = torch.stack([a.cos(), a.sin()], 1) if label == 0 else torch.stack([1 - a.cos(), 0.5 - a.sin()], 1)
    return torch.cdist(raw, curve).amin(1)


def test_its_recipe_is_valid() -> None:
    kind = find(FILE)
    assert not isinstance(kind.default_recipe, str)
    recipe = from_mapping(kind.default_recipe, FILE)
    data, model = validate_for(recipe, kind)
    assert recipe.train.steps == 600
    assert data == kind.Data() and model == kind.Model()


def test_data_lies_on_the_curves_and_encodes_to_unit_variance() -> None:
    points = opened()
    assert points.labels == ("upper", "lower") and points.shape == (2,)
    raw, cond = points.dataset("train").take(torch.arange(4000))
    for label in (0, 1):
        assert float(off_curve(raw[cond["label"] == label], label).max()) < 0.25  # 5 deviations of the noise
    x = points.encode(raw)
    assert abs(float(x.mean())) < 1e-6 and abs(float(x.std()) - 1) < 1e-6
    torch.testing.assert_close(points.decode(x), raw)
    test = points.dataset("test").take(torch.arange(4000)).raw
    assert float((test - raw).abs().min(0).values.max()) > 0 and not torch.equal(test, raw)


def test_write_and_preview(tmp_path: Path) -> None:
    points = opened()
    raw = torch.tensor([[0.0, 1.0], [1.0, -0.5]])
    paths = points.write(raw, tmp_path, ["a", "b"])
    assert [p.name for p in paths] == ["a.csv", "b.csv"]
    assert paths[1].read_text() == "x,y\n1.000000,-0.500000\n"
    picture = points.preview(raw, ["upper", "lower"])
    assert picture.getpixel((180, 150)) == (70, 130, 180)  # steelblue at (0, 1)
    assert picture.getpixel((300, 330)) == (178, 34, 34)  # firebrick at (1, -0.5)


def test_it_is_learned_in_seconds() -> None:
    """600 steps of a loop of one's own: samples lie on the half circle that they were asked for."""
    torch.manual_seed(0)  # the network's first weights
    points = opened()
    data = points.dataset("train")
    denoiser = RegressionDenoiser(points.network(), RectifiedFlow(), "flow")
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    g = torch.Generator().manual_seed(1)
    for _ in range(600):
        raw, cond = data.take(torch.randint(len(data), (256,), generator=g))
        hidden = torch.rand(256, generator=g) < 0.1
        label = torch.where(hidden, len(points.labels), cond["label"])
        t = torch.sigmoid(torch.randn(256, generator=g, dtype=torch.float64))
        loss = denoiser.loss(points.encode(raw), t, torch.randn(256, 2, generator=g), {"label": label}).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()

    def draw(label: int) -> Tensor:
        cond = {"label": torch.full((500,), label)}
        x_T = normal(2, "sample", range(500), (2,))
        times = GRIDS["uniform"](denoiser.schedule, 20)
        with torch.no_grad():
            return points.decode(sample(conditional(denoiser, cond), denoiser.schedule, Heun(), x_T, times))

    for label in (0, 1):
        raw = draw(label)
        assert float(off_curve(raw, label).median()) < 0.045  # the data's own is 0.033
        assert float((off_curve(raw, label) < off_curve(raw, 1 - label)).float().mean()) > 0.97
        assert float(raw[:, 0].std()) > 0.6  # the whole half circle, not a part: the data's is 0.71
    both = draw(2)
    upper = off_curve(both, 0) < off_curve(both, 1)
    assert 0.35 < float(upper.float().mean()) < 0.65
    assert float(torch.minimum(off_curve(both, 0), off_curve(both, 1)).median()) < 0.08
