"""Averages of widths that a run did not keep, beside those of a run that did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import toolkit
from tests.run.test_monitor import POINTS, points
from tests.run.test_prepare import quiet
from toolkit.errors import ToolkitError, UsageError
from toolkit.run import prepare
from toolkit.training.ema import PowerEMA
from toolkit.training.loop import COPIED

DIRECT = (0.03, 0.04, 0.07, 0.09)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PowerEMA]:
    """A run, and averages of other widths that were taken beside it."""
    out = tmp_path_factory.mktemp("runs") / "r"
    plan = prepare.prepare(points(), out, "cpu", quiet)
    named = dict(plan.state.denoiser.net.named_parameters())
    direct = PowerEMA(named, DIRECT)
    for event in plan.run():
        if isinstance(event, prepare.Progress):
            direct.update(plan.state.updates, named)
    return out, direct


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].detach().flatten() for name in sorted(weights)]).double()


def loaded(out: Path, width: float | None, step: int | None = None) -> Tensor:
    generator = toolkit.load(out, "cpu", ema=width, step=step, notify=quiet, modality=POINTS)
    return flat(dict(generator.denoiser.net.named_parameters()))


@pytest.mark.parametrize("width", DIRECT)
def test_a_width_made_afterwards_is_the_one_tracked(run: tuple[Path, PowerEMA], width: float) -> None:
    out, direct = run
    stored = {kept: loaded(out, kept) for kept in (0.05, 0.1)}
    goal = flat(direct.weights(width))
    error, nearest = (loaded(out, width) - goal).norm(), min((kept - goal).norm() for kept in stored.values())
    assert float(error / (stored[0.05] - stored[0.1]).norm()) < 0.15 and float(error / nearest) < 0.5


def test_widths_that_cannot_be_made_are_refused_in_one_line(run: tuple[Path, PowerEMA]) -> None:
    out, _ = run
    for width in (0.02, 0.11):
        with pytest.raises(
            UsageError,
            match=r"has 0\.05, 0\.1, and 0 is the weights themselves; widths from 0\.030 to 0\.1 can be made$",
        ):
            loaded(out, width)
    earlier = min(int(folder.name[5:]) for folder in (out / "checkpoints").iterdir())
    assert earlier < 54
    with pytest.raises(UsageError, match=f"was not kept; this run has .* not of step {earlier}"):
        loaded(out, 0.07, earlier)
    assert len(loaded(out, 0.05, earlier)) == len(loaded(out, 0.05))


def test_the_checkpoint_says_when_the_copy_was_taken(run: tuple[Path, PowerEMA]) -> None:
    folder = run[0] / "checkpoints" / "step-00000060"
    assert json.loads((folder / "state.json").read_text())[COPIED] == 54
    assert (folder / f"{COPIED}.safetensors").stat().st_size == (folder / "ema.safetensors").stat().st_size


def test_a_copy_that_does_not_fit_is_one_line(run: tuple[Path, PowerEMA], monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.run import post_hoc

    monkeypatch.setattr(post_hoc, "reconstruct", lambda *_: {"nothing": torch.zeros(1)})
    with pytest.raises(ToolkitError, match="does not fit the recipe"):
        loaded(run[0], 0.07)
