"""The loss of a network that knows nothing, and which examples it is measured on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tests.conftest import ROOT
from toolkit import recipe as recipes
from toolkit.diffusion import RectifiedFlow, RegressionDenoiser
from toolkit.discovery import find
from toolkit.evaluation import self_loss
from toolkit.run import generator as generators

POINTS = str(ROOT / "tests" / "points.py")


class Zero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: object) -> torch.Tensor:
        return torch.zeros_like(x)


def test_the_loss_of_a_network_that_says_nothing() -> None:
    recipe = recipes.from_mapping({"name": "points", "modality": POINTS, "diffusion": {"prediction": "x0"}})
    modality = find(POINTS)(*recipes.validate_for(recipe, find(POINTS)))
    modality.open(Path("unused"))
    silent = RegressionDenoiser(Zero(), RectifiedFlow(), "x0")
    run = generators.Generator(recipe, modality, silent, torch.device("cpu"))
    batches = list(self_loss.held_out_batches(modality, seed=3))
    assert sum(len(x) for x, _ in batches) == self_loss.MAX_EXAMPLES
    x = torch.cat([x for x, _ in batches])
    rows = torch.arange(self_loss.MAX_EXAMPLES) * 4000 // self_loss.MAX_EXAMPLES
    torch.testing.assert_close(x, modality.encode(modality.dataset("test").take(rows).raw))
    # x0 predicted as 0: the loss is the mean square of the example, whatever the noise
    torch.testing.assert_close(
        self_loss.losses(run, silent, batches, 3), x.double().square().mean(1), atol=1e-6, rtol=1e-5
    )
