"""Recipes: strict, typed, in TOML, and readable without torch.

A recipe is everything a run depends on. [data] and [model] belong to the modality (`validate_for`); the names in
[diffusion] and [sample] are looked up in the core's tables when the objects are made (`build`).
Every mistake in one is a UsageError of one line: where, which key, what is wrong, the nearest key that exists.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import Field, PlainValidator, Strict, model_validator

from toolkit import paths
from toolkit.discovery import built_in
from toolkit.errors import UsageError, unknown
from toolkit.recipe.check import checked, keys
from toolkit.recipe.expected import Expected, Smoke, StrictOptions, leaves
from toolkit.recipe.format import stamped, unstamped
from toolkit.recipe.inherit import family, fitted
from toolkit.recipe.options import Options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from toolkit.modality import Modality

MAX_BYTES = 1_000_000
MEASURED = ("expected", "smoke")
"""Sections that touch no run."""
MAX_WIDTH = 0.28
"""A power-function average is at most this wide: sqrt(1/12) when it weighs all of training alike."""


def _named(value: object) -> str | dict[str, Any]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return dict(value)
    raise ValueError('must be a name, or a table like {name = "linear-beta", T = 1000}')


Named = Annotated[str | dict[str, Any], PlainValidator(_named)]
"""A name from one of the core's tables, or a table with that name and options for it."""
Pair = Annotated[tuple[float, float], Strict(False)]
"""Two numbers; a list in TOML."""


class Diffusion(StrictOptions):
    """Which noise, what the network predicts, and how it is trained to."""

    schedule: Named = "flow"
    prediction: Literal["eps", "x0", "v", "flow", "edm"] = "flow"
    shift: float = Field(default=1.0, gt=0)
    """Factor on sigma/alpha; above 1 spends more of [0, 1] on the noisy end."""
    zero_terminal_snr: bool = False
    time: Named = "logit-normal"
    top: float = Field(default=0.05, ge=0, lt=1)
    """Share of the times that is log-uniform from sigma = alpha to the highest level that the data asks for."""
    stratified: bool = True
    """Low-discrepancy times over the batch."""
    weighting: Named = "none"
    label_drop: float = Field(default=0.1, ge=0, le=1)
    """Probability with which a label is hidden, which is what guidance needs."""


class Train(StrictOptions):
    """How long, how fast, and what is kept."""

    seed: int = Field(default=0, ge=0)
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch: int = Field(default=128, ge=1)
    """Examples of each optimiser step."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a batch is computed in, when it does not fit into memory at once."""
    lr: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=200, ge=0)
    """Steps of linear warm-up."""
    decay: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.01, ge=0)
    betas: Pair = (0.9, 0.99)
    """Decay of AdamW's two moments."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: matrices and kernels move by orthogonal updates, the rest by AdamW, at one learning rate."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    ema: Pair = (0.05, 0.10)
    """Two averages of the weights; width relative to the length of training."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    layout: Literal["auto", "channels-first", "channels-last"] = "auto"
    """Of pictures in memory; auto measures which is faster here, and the run keeps what was found."""
    threads: int | None = Field(default=None, ge=1)
    """Of the processor; None measures whether fewer are faster here, and the run keeps what was found."""
    compile: bool = False
    previews: int = Field(default=5, ge=0)
    """Pictures over the whole run."""
    checkpoint_minutes: float = Field(default=2.0, gt=0)
    keep: int = Field(default=2, ge=1)
    """Checkpoints."""

    @model_validator(mode="after")
    def _in_range(self) -> Train:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), not {list(self.betas)}")
        if not all(0 < width < MAX_WIDTH for width in self.ema):
            raise ValueError(f"ema must be two widths in (0, {MAX_WIDTH}), not {list(self.ema)}")
        return self


class Sample(StrictOptions):
    """How `toolkit sample` and the previews sample unless told otherwise."""

    sampler: Named = "dpm++3m"
    grid: Named = "log-snr"
    steps: int = Field(default=20, ge=1)
    restarts: int = Field(default=0, ge=0)
    """How often the sample at the end is made a little noisy again, and its last steps are taken once more."""
    back: int = Field(default=4, ge=1)
    """How many steps back a restart goes, at most all of them."""
    guidance: float = Field(default=1.0, ge=0)
    """1 = the conditional model itself."""
    interval: Annotated[tuple[float, float] | None, Strict(False)] = None
    """Log-SNR between which guidance acts; None = everywhere."""
    rescale: float = Field(default=0.0, ge=0, le=1)
    clip: bool = True
    """Clamp each estimate of the data to the bounds of the data, when it has any."""
    ema: float | None = None
    """Which of train.ema; None = the last."""

    def total_steps(self, steps: int | None = None, restarts: int | None = None) -> int:
        """Steps in all, those of restarts included; None: as this section says."""
        first = steps or self.steps
        return first + (self.restarts if restarts is None else restarts) * min(self.back, first)


class Recipe(StrictOptions):
    """All that a run depends on."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    description: str = ""
    modality: str = Field(min_length=1)
    data: dict[str, Any] = {}
    model: dict[str, Any] = {}
    diffusion: Diffusion = Diffusion()
    train: Train = Train()
    sample: Sample = Sample()
    expected: Expected = Expected()
    """Figures that were measured: what `toolkit reproduce` compares with."""
    smoke: Smoke = Smoke()
    """The same in about a minute."""

    @model_validator(mode="after")
    def _ema_exists(self) -> Recipe:
        if self.sample.ema is not None and self.sample.ema not in self.train.ema:
            raise ValueError(f"sample.ema = {self.sample.ema} is not one of train.ema = {list(self.train.ema)}")
        return self


def list_recipes(modality: str | None = None) -> list[str]:
    """The shipped recipes, as "image/mnist", sorted."""
    root = paths.shipped("recipes")
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.glob("*/*.toml"))
    return sorted(name for name in names if modality is None or name.startswith(f"{modality}/"))


def locate(name_or_path: str | os.PathLike[str], modality: str | None = None) -> Path:
    """The file of a recipe: "image/mnist", "mnist" (when one modality has it, or `modality` is given), or a path."""
    name = os.fspath(name_or_path)
    if name.endswith(".toml") or Path(name).expanduser().is_file():
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageError(f"no such recipe file: {path}")
        return path
    known = list_recipes()
    full = [n for n in known if n == name]
    if modality is not None and modality not in built_in() and not full:
        modality = next((one for one in family(modality) if one in built_in()), None)
    short = [n for n in known if n.split("/")[1] == name and (modality is None or n.startswith(f"{modality}/"))]
    found = full or short
    if len(found) > 1:
        raise UsageError(f"recipe '{name}' exists for several modalities: {', '.join(found)}; write one of these")
    if not found:
        # Compare like with like: a short name with short names.
        names = known if "/" in name else [n.split("/")[1] for n in list_recipes(modality)]
        raise unknown("recipe", name, names)
    return paths.shipped("recipes") / f"{found[0]}.toml"


def load(name_or_path: str | os.PathLike[str], modality: str | None = None) -> Recipe:
    """Return a recipe by name or path, checked except for [data] and [model].

    `modality` fills in one that the file does not name, and takes over a recipe of a modality that its class derives
    from; a file that names any other one is an error.
    """
    path = locate(name_or_path, modality)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read recipe {path}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise UsageError(f"recipe {path} is larger than {MAX_BYTES:,} bytes; that is not a recipe")
    try:
        mapping = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply") from None
    return from_mapping({"name": path.stem, **unstamped(mapping, str(path))}, modality, str(path))


def from_mapping(mapping: Mapping[str, Any], modality: str | None = None, where: str = "recipe") -> Recipe:
    """A recipe from nested dicts, as in TOML. `where` begins the message when something in it is wrong."""
    known = {} if modality is None else {"modality": modality}
    recipe = checked(Recipe, {**known, **mapping}, where)
    return recipe if modality is None else fitted(recipe, modality, where)


def replace(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """`recipe` with the values at dotted keys replaced, and checked again; None returns a key to its default."""
    tree = _tree(recipe)
    for key, value in values.items():
        *parents, last = key.split(".")
        if [*parents, last][0] not in Recipe.model_fields:
            raise unknown("recipe key", key, keys(Recipe))
        table = tree
        for depth, part in enumerate(parents):
            below = table.get(part, {})
            if isinstance(below, str) and depth == 1 and parents[0] in ("diffusion", "sample"):
                below = {"name": below}  # diffusion.schedule.T = 500 gives the schedule that is there an option
            if not isinstance(below, dict):
                raise unknown("recipe key", key, keys(Recipe))
            table[part] = table = below
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    return checked(Recipe, tree, "")


def override(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """As `replace`, with each value as typed on a command line: TOML where it is TOML, text where not, "" = default."""
    return replace(recipe, {key: typed(value) for key, value in values.items()})


def dump(recipe: Recipe) -> str:
    """TOML with every key that has a value; `load` of it is equal to `recipe`."""
    return tomli_w.dumps(_tree(recipe))


def dump_run(recipe: Recipe) -> str:
    """Return `dump` with the format number and the version of the toolkit, as recipe.toml in a run folder has it."""
    return tomli_w.dumps(stamped(_tree(recipe)))


def difference(a: Recipe, b: Recipe) -> list[str]:
    """The dotted keys in which two recipes differ, sorted; what was measured by one of them makes it no other."""
    left, right = (
        {key: list(value) if isinstance(value, tuple) else value for key, value in leaves(_trained(recipe))}
        for recipe in (a, b)
    )
    return sorted(k for k in left.keys() | right.keys() if k not in left or k not in right or left[k] != right[k])


def validate_for(recipe: Recipe, modality: type[Modality]) -> tuple[Options, Options]:
    """The [data] and [model] sections as the modality's own options."""
    where = f"recipe '{recipe.name}'"
    data = checked(modality.Data, recipe.data, where, "data.")
    return data, checked(modality.Model, recipe.model, where, "model.")


def _tree(recipe: Recipe) -> dict[str, Any]:
    tree = copy.deepcopy(recipe.model_dump(exclude_none=True))
    empty = [name for name in MEASURED if not tree[name]["figures"]]
    return {name: value for name, value in tree.items() if name not in empty}


def _trained(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in _tree(recipe).items() if name not in MEASURED}


def typed(text: str) -> Any:
    """What a value typed on a command line means: TOML where it is TOML, text where not, None for nothing."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text or None
    return parsed["value"] if len(parsed) == 1 else text  # a line break could have started a second key
