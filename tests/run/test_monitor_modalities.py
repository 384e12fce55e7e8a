"""The loss at fixed noise of pictures, sounds and texts, before any training, against its closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.run.test_prepare import quiet
from toolkit import recipe as recipes
from toolkit.run import monitor, prepare
from toolkit.run.monitor import Monitor


@pytest.mark.parametrize("name", ["image/digits", "audio/drums", "text/names", "text/shakespeare"])
def test_every_modality_is_measured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor.held_out, "MAX_EXAMPLES", 40)
    recipe = recipes.load(name)
    changes = {**recipe.smoke.changes, "train.minutes": None, "train.steps": 2000, "train.threads": 1}
    plan = prepare.prepare(recipes.replace(recipe, changes), tmp_path / "r", "cpu", quiet)
    kept = Monitor(plan.recipe, plan.modality, plan.state, plan.config, plan.course, tmp_path / "none")
    assert kept.amounts.held_out >= 5 and kept.amounts.trained >= 8
    plan.state.step = 2000
    assert kept.due(plan.course)
    first = kept.measure()
    plan.state.step = 2001
    second = kept.measure()
    assert first is not None and second is not None and first.held_out == second.held_out
    assert (first.floor is not None) == (name == "image/digits")
    assert [level.noise for level in first.levels] == sorted(level.noise for level in first.levels)
    law, net = plan.config.time_distribution, plan.state.denoiser
    # of an untrained network: tokens are equally likely, and what it predicts of numbers is 0
    if name.startswith("text"):
        vocabulary = plan.modality.codec.vocabulary.size  # type: ignore[attr-defined]
        assert first.loss == pytest.approx(float(torch.tensor(vocabulary - 1.0).log()), rel=1e-3)
    else:
        assert first.loss == pytest.approx(float(_silent(kept, law, net)), rel=0.1)


def _silent(kept: Monitor, law: Any, denoiser: Any) -> torch.Tensor:
    """The mean square of the target, alpha^2 + sigma^2 of a flow apart from the data's own variance."""
    u = kept.unseen.quantiles()
    losses = []
    for positions, x, cond in kept.unseen.batches():
        mask = cond.get("mask", torch.ones_like(x[:, :1]))
        square = (x.square() * mask).flatten(1).sum(1) / mask.expand_as(x).flatten(1).sum(1)
        c = denoiser.coefficients(law.time(u[positions].flatten(), denoiser.schedule))
        of_x, of_eps = ((v**2).view(len(x), -1).mean(1) for v in (c.of_x, c.of_eps))
        losses.append(of_x * square + of_eps)
    return torch.cat(losses).mean()
