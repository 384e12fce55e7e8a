"""Objects in place of what a recipe names: as they are in memory, described in a file, refused where they are lost."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import ROOT
from toolkit import recipe
from toolkit.diffusion import (
    DDIM,
    DDPM,
    GRIDS,
    Cosine,
    Denoiser,
    Heun,
    LinearChain,
    LogNormal,
    MinSNR,
    RectifiedFlow,
    RegressionDenoiser,
    Schedule,
    Shift,
    autoguidance,
)
from toolkit.diffusion.loss import Unweighted
from toolkit.discovery import find
from toolkit.errors import UsageError
from toolkit.modality import Modality
from toolkit.recipe import Recipe, build, choose, objects
from toolkit.recipe.objects import describe, is_object

POINTS = str(ROOT / "tests" / "points.py")
HERE = __name__


class Net(nn.Module):
    """One layer."""

    def __init__(self, start: float = 0.5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(start))

    def forward(self, x: Tensor, c_noise: Tensor, cond: dict[str, Tensor]) -> Tensor:
        return self.scale * x


@dataclass(frozen=True)
class Wide(MinSNR):
    """A weighting of the user's."""

    power: int = 2
    about: Any = None


class Steep(Cosine):
    """A schedule of the user's."""


class Late(LogNormal):
    """Training times of the user's."""


def even(schedule: Schedule, n: int) -> Tensor:
    """A grid of the user's."""
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


def points() -> Recipe:
    kind = find(POINTS)
    assert not isinstance(kind.default_recipe, str)
    return recipe.from_mapping({**kind.default_recipe}, POINTS)


def opened() -> Modality:
    kind = find(POINTS)
    modality = kind(kind.Data(), kind.Model())
    modality.open(Path("unused"), lambda line: None)
    return modality


def test_what_is_an_object_and_what_a_file_can_hold() -> None:
    for plain in ("flow", 1, 1.5, True, None, {"name": "flow"}, [1], (1, 2)):
        assert not is_object(plain)
    for value in (Cosine(), Net, Net(), lambda x: x, torch.zeros(2), functools.partial(autoguidance, w=2.0)):
        assert is_object(value)


def test_a_description_is_the_same_in_every_process() -> None:
    assert describe(Wide(gamma=3.0)) == f"{HERE}.Wide(gamma=3.0, power=2, about=None)"
    assert describe(Wide(about=Net())) == f"{HERE}.Wide(gamma=5.0, power=2, about={HERE}.Net)"
    assert describe(Net) == describe(Net()) == f"{HERE}.Net"
    assert describe(points) == f"{HERE}.points"
    assert describe(functools.partial(autoguidance, w=2.0)) == "toolkit.diffusion.guidance.autoguidance(w=2.0)"
    assert describe(lambda: 0).endswith(".<lambda>")


def test_in_a_file_an_object_is_described_and_in_memory_it_stays(tmp_path: Path) -> None:
    weighting, net = Wide(gamma=3.0), Net()
    plain = recipe.load("image/digits")
    mine = choose.with_objects(plain, {"weighting": weighting, "network": net, "grid": even})
    assert mine.diffusion.weighting is weighting and mine.network is net  # type: ignore[comparison-overlap]
    longer = recipe.replace(mine, {"train.steps": 7, "diffusion.shift": 2.0})
    assert longer.diffusion.weighting is weighting and longer.network is net  # type: ignore[comparison-overlap]
    (tmp_path / "mine.toml").write_text(recipe.dump(mine))
    read = recipe.load(tmp_path / "mine.toml")
    assert read.diffusion.weighting == {"name": "object", "of": f"{HERE}.Wide(gamma=3.0, power=2, about=None)"}
    assert read.network == {"name": "object", "of": f"{HERE}.Net"}
    assert read.sample.grid == {"name": "object", "of": f"{HERE}.even"}
    assert recipe.difference(read, mine) == [] and recipe.dump(read) == recipe.dump(mine)
    other = choose.with_objects(mine, {"weighting": Wide(gamma=4.0)})
    assert recipe.difference(read, other) == ["diffusion.weighting.of"]
    assert "network.of" in recipe.difference(plain, mine)


def test_an_object_of_ours_is_written_as_its_name() -> None:
    """So that what can be loaded by name is; what has options that no file can hold stays an object."""
    for name, value, spelled in (
        ("schedule", Cosine(), "cosine"),
        ("weighting", MinSNR(), "min-snr"),
        ("weighting", MinSNR(3.0), {"name": "min-snr", "gamma": 3.0}),
        ("weighting", Unweighted(), "none"),
        ("time", LogNormal(0.0, 2.0), {"name": "log-normal", "mean": 0.0, "std": 2.0}),
        ("sampler", DDIM(), "ddim"),
        ("sampler", Heun("sigma"), {"name": "heun", "coordinates": "sigma"}),
        ("sampler", DDPM(error=even), DDPM(error=even)),
        ("grid", GRIDS["karras"], "karras"),
        ("grid", functools.partial(GRIDS["karras"], rho=5.0), {"name": "karras", "rho": 5.0}),
        ("grid", functools.partial(GRIDS["karras"], Cosine()), None),
        ("schedule", LinearChain(), None),  # it does not keep what it was made of
        ("sampler", torch.zeros(2), None),
    ):
        found = choose.with_objects(points(), {name: value})
        section = found.sample if name in ("sampler", "grid") else found.diffusion
        assert getattr(section, name) is value if spelled is None else getattr(section, name) == spelled
    described = choose.with_objects(points(), {"schedule": Cosine(), "weighting": MinSNR(3.0)})
    assert recipe.from_mapping(recipe.tomllib.loads(recipe.dump(described))) == described
    assert build.weighting(described.diffusion) == MinSNR(3.0)


def test_names_are_taken_by_the_same_keywords() -> None:
    found = choose.with_objects(points(), {"weighting": "min-snr", "time": {"name": "log-normal", "std": 2.0}})
    assert build.weighting(found.diffusion) == MinSNR()
    assert found.diffusion.time == {"name": "log-normal", "std": 2.0}
    assert choose.with_objects(points(), {"weighting": None}) == points()
    with pytest.raises(UsageError, match="unknown weighting 'min-srn'; did you mean 'min-snr'"):
        build.weighting(choose.with_objects(points(), {"weighting": "min-srn"}).diffusion)


def test_objects_are_what_is_built() -> None:
    modality, schedule, weighting, late = opened(), Steep(), Wide(), Late(0.0, 2.0)
    found = choose.with_objects(points(), {"schedule": schedule, "weighting": weighting, "time": late})
    assert build.schedule(found.diffusion) is schedule and build.weighting(found.diffusion) is weighting
    denoiser = build.denoiser(found, modality)
    assert denoiser.schedule is schedule
    law = build.time_distribution(found.diffusion, denoiser, modality.facts)
    assert law is late
    # what a recipe says of a schedule holds for an object too
    assert isinstance(build.schedule(recipe.replace(found, {"diffusion.shift": 2.0}).diffusion), Shift)


class Mine(RegressionDenoiser):
    """A denoiser of the user's."""


def test_a_network_and_a_denoiser_as_objects_or_as_functions() -> None:
    modality, net = opened(), Net(start=2.0)
    with_net = choose.with_objects(points(), {"network": net})
    copied = build.denoiser(with_net, modality)
    assert isinstance(copied.net, Net) and copied.net is not net and copied.net.scale.item() == 2.0
    seen: list[Any] = []

    def make(modality: Modality) -> nn.Module:
        seen.append(modality)
        return nn.Linear(2, 2)

    found = choose.with_objects(points(), {"network": make})
    first, again = (build.denoiser(found, modality).net for _ in range(2))
    assert seen == [modality, modality] and torch.equal(first.weight, again.weight)  # type: ignore[arg-type]

    for plain in (Net, lambda: Net()):  # which take nothing that has no default
        made = build.denoiser(choose.with_objects(points(), {"network": plain}), modality).net
        assert isinstance(made, Net) and made.scale.item() == 0.5
    for wrap in (Mine, lambda net, schedule: Mine(net, schedule), lambda net: Mine(net, RectifiedFlow())):
        denoiser = build.denoiser(choose.with_objects(points(), {"denoiser": wrap, "network": net}), modality)
        assert (
            type(denoiser) is Mine and isinstance(denoiser.schedule, RectifiedFlow) and denoiser.net.scale.item() == 2
        )  # type: ignore[arg-type]

    whole = Mine(Net(), Steep())
    found = choose.with_objects(recipe.replace(points(), {"diffusion.shift": 3.0}), {"denoiser": whole})
    assert build.schedule(found.diffusion) is whole.schedule  # unshifted: it is as it is
    built = build.denoiser(found, modality)
    assert built is not whole and isinstance(built.schedule, Steep)
    for name, value in (("network", Net()), ("schedule", Cosine())):
        with pytest.raises(UsageError, match=f"a denoiser has its own {name}: leave {name}= out"):
            choose.with_objects(points(), {"denoiser": whole, name: value})


class Noisy(Net):
    """With a buffer that is random, and not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("phase", torch.randn(3), persistent=False)


def test_without_its_first_weights_a_network_has_all_else() -> None:
    """The first weights, which `load` leaves out, are all that differs; torch's own random numbers stay as they are."""
    found, modality = choose.with_objects(points(), {"network": Noisy}), opened()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    drawn, bare = (build.denoiser(found, modality, weights=weights).net for weights in (True, False))
    assert torch.equal(drawn.phase, bare.phase) and torch.equal(torch.get_rng_state(), state)  # type: ignore[arg-type]
    assert not torch.equal(drawn.layer.weight, bare.layer.weight)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": Net()}, r"schedule: .*Net is no Schedule; derive its class from toolkit.diffusion.schedule"),
        ({"weighting": Cosine}, r"weighting: toolkit.diffusion.schedule.Cosine is no Weighting"),
        ({"time": Cosine()}, r"time distribution: .*Cosine.* is no TimeDistribution"),
        ({"sampler": Cosine()}, r"sampler: .*Cosine.* is no Sampler"),
        ({"sampler": DDIM}, r"sampler: .*DDIM is no Sampler"),
        ({"denoiser": Net()}, r"denoiser: .*Net is a network: pass it as network="),
        ({"denoiser": lambda net: 3}, r"gave builtins.int, which is no toolkit.diffusion.Denoiser"),
        ({"network": lambda modality: 3}, r"gave builtins.int, which is no torch.nn.Module"),
        ({"network": object()}, r"network: builtins.object cannot be called"),
        ({"loss": 3}, r"diffusion.loss: has no names to choose from: pass an object from Python"),
        ({"network": "unet"}, r"network: has no names to choose from"),
        ({"schedule": 5}, r"diffusion.schedule: must be a name, or a table"),
    ],
)
def test_what_is_no_such_object_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        found = choose.with_objects(points(), given)
        build.check(found)
        build.denoiser(found, opened())
    assert "\n" not in str(caught.value)


def test_what_a_file_could_not_hold_has_to_be_passed_again() -> None:
    for name, value in {
        "schedule": Steep(), "time": Late(), "weighting": Wide(), "network": Net(), "sampler": Net(),
        "denoiser": Mine, "loss": points, "grid": points,
    }.items():  # fmt: skip
        mine = choose.with_objects(points(), {name: value})
        read = recipe.from_mapping(recipe.tomllib.loads(recipe.dump(mine)))
        with pytest.raises(UsageError, match=r"was an object in Python \(.*\), which no file can hold: pass it again"):
            build.check(read)
        back = choose.with_objects(read, {name: value})
        assert recipe.difference(back, mine) == []


def lost(mine: Recipe, **again: Any) -> str:
    """Return the message on what a run of this recipe lacks, when its file is read and objects are passed again."""
    read = recipe.from_mapping(recipe.tomllib.loads(recipe.dump(mine)))
    try:
        objects.require(choose.with_objects(read, again), Path("runs/x"))
    except UsageError as error:
        return str(error)
    return ""


def test_what_a_run_needs_again_to_be_loaded() -> None:
    net, whole = Net(), Mine(Net(), Steep())
    mine = choose.with_objects(points(), {"network": net, "weighting": Wide(), "denoiser": Mine})
    assert objects.to_load(mine) == {"network": net, "denoiser": Mine}
    said = lost(mine)
    assert said.startswith("runs/x was trained with objects from Python that no file can hold: ")
    assert f"network ({HERE}.Net), denoiser ({HERE}.Mine); pass the same" in said
    assert said.endswith("toolkit.load('runs/x', network=..., denoiser=...)")
    assert lost(mine, network=net).endswith("toolkit.load('runs/x', denoiser=...)")
    assert lost(mine, network=net, denoiser=Mine) == ""  # and no weighting
    mine = choose.with_objects(points(), {"denoiser": whole})
    assert objects.to_load(mine) == {"denoiser": whole}  # its schedule comes along
    assert lost(mine).endswith("toolkit.load('runs/x', denoiser=...)") and lost(mine, denoiser=whole) == ""
    assert f"schedule ({HERE}.Steep())" in lost(mine, denoiser=Mine)
    assert isinstance(whole, Denoiser)
