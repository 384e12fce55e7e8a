"""`toolkit.train` and its like, as a script and a notebook use them; objects where names are, in whole runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toolkit
from tests.conftest import ROOT, run_python
from toolkit import recipe as recipes
from toolkit.diffusion import Denoiser, LogNormal, MinSNR, RectifiedFlow, RegressionDenoiser, Schedule
from toolkit.errors import ToolkitError, UsageError
from toolkit.run import prepare
from toolkit.training.storage.checkpoint import CheckpointStore

POINTS = str(ROOT / "tests" / "points.py")
SHORT: dict[str, Any] = {
    "modality": POINTS, "steps": 6, "batch": 16, "device": "cpu", "threads": 1,
    "settings": {"train.previews": 0, "train.warmup": 1, "sample.steps": 2},
}  # fmt: skip


class Net(nn.Module):
    """A network of the user's, with a few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor, c_noise: Tensor, cond: dict[str, Tensor]) -> Tensor:
        output: Tensor = self.layer(torch.cat([x, c_noise[:, None]], 1))
        return output


class Mine(RegressionDenoiser):
    """A denoiser of the user's, which counts what it learned from."""

    seen = 0

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Any = None) -> Tensor:
        type(self).seen += len(x)
        return super().loss(x, t, eps, cond)


class Late(LogNormal):
    """Training times of the user's."""


class Wide(MinSNR):
    """A weighting of the user's."""


def test_training_takes_what_the_command_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = toolkit.train("image/digits", steps=2, batch=4, device="cpu", preset="tiny", width=16, limit=50,
                         settings={"train.previews": 0, "sample.steps": 2}, progress=False, seed=3)  # fmt: skip
    assert (made.recipe.train.batch, made.recipe.train.seed, made.recipe.data["limit"]) == (4, 3, 50)
    assert made.run == Path("runs/digits") and made.run.is_dir()
    with pytest.raises(UsageError, match="unknown option 'divice'; did you mean 'device'"):
        toolkit.train("image/digits", steps=2, divice="cpu")


def test_silence_lines_and_a_listener(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toolkit.train(**SHORT, out=tmp_path / "a", progress=False)
    assert capsys.readouterr() == ("", "")
    toolkit.train(**SHORT, out=tmp_path / "b")
    lines = capsys.readouterr().out.splitlines()
    assert (
        any(line.startswith("step 6/6  loss ") for line in lines)
        and lines[0] == "measuring the speed of this machine ..."
    )
    assert f"picture: {tmp_path / 'b' / 'previews' / 'final.png'}" in lines and not any(
        "\x1b" in line for line in lines
    )
    said: list[str] = []
    toolkit.train(**SHORT, out=tmp_path / "c", notify=said.append)
    assert capsys.readouterr().out == "" and said[-2].startswith("picture: ") and said[0] == lines[0]


def test_a_run_can_be_iterated(tmp_path: Path) -> None:
    run = toolkit.prepare(**SHORT, out=tmp_path / "r", notify=lambda line: None)
    assert not (tmp_path / "r").exists()  # nothing is written yet
    kinds, losses = [], []
    for event in run:
        kinds.append(type(event).__name__)
        if isinstance(event, prepare.Progress):
            losses.append(event.loss)
            assert len(run.generator().sample(2, steps=1)) == 2  # of the weights of now
    assert len(losses) == 6 and kinds[-2:] == ["Saved", "Finished"] and dict(run.describe())["parameters"]
    assert toolkit.load(tmp_path / "r", modality=POINTS).run == tmp_path / "r"


def test_a_file_that_names_code_is_refused_until_the_code_is_named(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(recipes.dump(prepare.choose.choose(**{k: SHORT[k] for k in ("modality", "steps", "settings")})))
    with pytest.raises(UsageError, match=r"r.toml runs code from '.*points.py'; if you trust that, name it"):
        toolkit.train(file, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()
    assert toolkit.train(file, out=tmp_path / "r", progress=False, modality=POINTS).recipe.modality == POINTS
    with pytest.raises(UsageError, match=r"recipe.toml runs code from '.*points.py'"):
        toolkit.load(tmp_path / "r")


def test_a_run_of_objects(tmp_path: Path) -> None:
    """It trains with them, says so in its recipe, goes on with the same, and is loaded with them alone."""
    out, net, quiet = tmp_path / "r", Net(), {"notify": lambda line: None}
    before = net.layer.weight.detach().clone()
    mine: dict[str, Any] = {"network": net, "denoiser": Mine, "time": Late(0.0, 1.5), "weighting": Wide(3.0)}
    Mine.seen = 0
    made = toolkit.train(**SHORT, **mine, out=out, **quiet)
    assert type(made.denoiser) is Mine and isinstance(made.denoiser.net, Net) and Mine.seen >= 6 * 16
    assert torch.equal(net.layer.weight, before) and not torch.equal(made.denoiser.net.layer.weight, before)
    text = (out / "recipe.toml").read_text()
    assert f'name = "object"\nof = "{__name__}.Net"' in text
    assert f'of = "{__name__}.Wide(gamma=3.0)"' in text
    again = toolkit.load(out, modality=POINTS, network=net, denoiser=Mine, **quiet)
    assert torch.equal(again.sample(3).x, made.sample(3).x)
    assert again.time_distribution is None  # a sample needs no time distribution
    with_times = toolkit.load(out, modality=POINTS, network=net, denoiser=Mine, time=Late(0.0, 1.5), **quiet)
    assert with_times.time_distribution is not None
    for given, lost in (({}, "network=..., denoiser=..."), ({"network": net}, "denoiser=...")):
        with pytest.raises(UsageError, match=rf"trained with objects from Python .*{__name__}.Mine.* {lost}\)"):
            toolkit.load(out, modality=POINTS, **given)
    with pytest.raises(ToolkitError, match="does not fit the recipe beside it"):
        toolkit.load(out, modality=POINTS, network=nn.Linear(2, 2), denoiser=Mine, **quiet)
    # the same goes on; another, or none, is another run
    longer = {**SHORT, "steps": 8}
    said: list[str] = []
    toolkit.train(**longer, **mine, out=out, notify=said.append)
    assert any("goes on from step 6" in line for line in said)
    for other in ({**mine, "weighting": Wide(4.0)}, {"network": net}):
        with pytest.raises(UsageError, match="holds a run of another recipe"):
            toolkit.train(**longer, **other, out=out, progress=False)


def test_the_command_line_says_what_a_run_of_objects_needs(tmp_path: Path) -> None:
    toolkit.train(**SHORT, network=Net, out=tmp_path / "r", notify=lambda line: None)
    sampled = run_python("-m", "toolkit", "sample", "r", "--modality", POINTS, cwd=tmp_path)
    assert sampled.returncode == 2 and len(sampled.stderr.splitlines()) == 1
    assert (
        "r was trained with objects from Python" in sampled.stderr
        and "toolkit.load('r', network=...)" in sampled.stderr
    )
    trained = run_python(
        "-m", "toolkit", "train", "--recipe", "r/recipe.toml", "--modality", POINTS, "--out", "new", cwd=tmp_path
    )
    assert trained.returncode == 2 and "the network was an object in Python" in trained.stderr
    assert len(trained.stderr.splitlines()) == 1 and not (tmp_path / "new").exists()


def test_a_whole_denoiser_with_its_own_schedule(tmp_path: Path) -> None:
    class Steep(RectifiedFlow):
        """A schedule that nobody registered."""

    whole = Mine(Net(), Steep())
    made = toolkit.train(**SHORT, denoiser=whole, out=tmp_path / "r", notify=lambda line: None)
    assert isinstance(made.denoiser.schedule, Steep) and made.denoiser is not whole
    again = toolkit.load(tmp_path / "r", modality=POINTS, denoiser=whole, notify=lambda line: None)
    assert torch.equal(again.sample(2).x, made.sample(2).x)


class Ideal(Denoiser):
    """No regression: its loss is its own."""

    def __init__(self, net: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.net, self.schedule = net, schedule

    def forward(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        return self.net(x_t, t.expand(len(x_t)).to(x_t), cond or {})  # type: ignore[no-any-return]

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Any = None) -> Tensor:
        return (self(x + eps, t, cond) - x).abs().flatten(1).mean(1)


def test_a_loss_of_the_users_own(tmp_path: Path) -> None:
    """It is called with the denoiser and the batch, for one number each; and it is what is minimised."""
    shapes = set()

    def towards_one(denoiser: Denoiser, x: Tensor, t: Tensor, eps: Tensor, cond: dict[str, Tensor]) -> Tensor:
        shapes.add((tuple(x.shape), tuple(t.shape), tuple(eps.shape), tuple(cond["label"].shape)))
        return (denoiser(x, t, cond) - 1).square().flatten(1).mean(1)

    settings = {**SHORT["settings"], "train.lr": 0.05, "train.ema": (0.05, 0.1)}
    options = {**SHORT, "steps": 150, "settings": settings, "network": Net, "denoiser": Ideal}
    made = toolkit.train(**options, loss=towards_one, out=tmp_path / "r", notify=lambda line: None)
    assert shapes == {((16, 2), (16,), (16, 2), (16,))}
    x = made.denoiser(torch.randn(64, 2), torch.tensor(0.5))
    assert float((x - 1).detach().abs().mean()) < 0.3  # the plain loss would leave them near their input
    assert 'of = "tests.run.test_python.' in (tmp_path / "r" / "recipe.toml").read_text()
    with pytest.raises(ToolkitError, match=r"a loss is one number for each example, \(16,\), not \(\)"):
        toolkit.train(**options, loss=lambda *given: towards_one(*given).mean(), out=tmp_path / "s", progress=False)
    with pytest.raises(UsageError, match='MinSNR weighs squared errors, and Ideal has none; take weighting = "none"'):
        toolkit.train(**options, weighting=MinSNR(), out=tmp_path / "t", progress=False)


def test_the_weights_themselves_are_width_0(tmp_path: Path) -> None:
    quiet: dict[str, Any] = {"notify": lambda line: None, "modality": POINTS}
    toolkit.train(**SHORT, out=tmp_path / "r", progress=False)
    raw = toolkit.load(tmp_path / "r", ema=0, **quiet).denoiser.net.state_dict()
    found = CheckpointStore(tmp_path / "r" / "checkpoints").load()
    assert found is not None and raw.keys() == found.groups["model"].keys()
    assert all(torch.equal(value, found.groups["model"][name]) for name, value in raw.items())
    averaged = toolkit.load(tmp_path / "r", **quiet).denoiser.net.state_dict()
    assert any(not torch.equal(averaged[name], value) for name, value in raw.items())
    with pytest.raises(UsageError, match=r"EMA width 0.2 was not kept; this run has 0.05, 0.1, and 0 is"):
        toolkit.load(tmp_path / "r", ema=0.2, **quiet)
    assert recipes.replace(recipes.load("image/digits"), {"sample.ema": 0.0}).sample.ema == 0


def test_the_front_door_is_short_and_lazy() -> None:
    names = {"Generator", "Modality", "Recipe", "Samples", "load", "prepare", "train", "__version__"}
    assert set(toolkit.__all__) == names
    assert {name for name in dir(toolkit) if not name.startswith("__")} == names - {"__version__"}
    assert all(getattr(toolkit, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = toolkit.nothing
    done = subprocess.run(
        [sys.executable, "-c", "import sys, toolkit; dir(toolkit); print('torch' in sys.modules)"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "False\n"


def test_python_m_toolkit_is_the_command(tmp_path: Path) -> None:
    done = run_python("-m", "toolkit", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{toolkit.__version__}\n")
