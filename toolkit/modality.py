"""The contract between the core, which knows tensors, and a modality, which knows what they mean.

A modality is one class. `find("image")`, `find("my_package.video")` and `find("./video.py")` all work;
there is no registry to edit. tests/points.py is a complete one in about 50 lines.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from toolkit.errors import UsageError

if TYPE_CHECKING:
    import PIL.Image
    from torch import Tensor, nn

    from toolkit.diffusion.denoiser import Denoiser
    from toolkit.diffusion.loss import TimeDistribution
    from toolkit.diffusion.randomness import Draws
    from toolkit.diffusion.schedule import Schedule
    from toolkit.evaluation.table import EvaluationResult, Figure, Wishes

BUILT_IN = ("image", "audio", "text")
MAX_NUMBERS = 1 << 26
"""In one example."""
_MARK = "diffusion-toolkit"


class Options(BaseModel):
    """A typed, strict section of a recipe: an unknown key is an error. Its docstrings are what --help shows."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Facts(BaseModel):
    """What was learned from the data when it was first read; stored in the run, so sampling needs no data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[int, ...]
    """Of one encoded example, without the batch."""
    labels: tuple[str, ...] = ()
    """() = unconditional; index len(labels) is the null label."""
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    """Of the data before encoding; `encode` removes both, so model space has unit variance."""
    bounds: tuple[float, float] | None = None
    """Smallest and largest value an encoded example can have, when there is such a thing."""
    count: int = 0
    """Training examples."""
    rejected: tuple[str, ...] = ()
    """One line for each file that could not be used, with the reason."""
    extra: dict[str, int | float | str | bool | tuple[float, ...]] = {}
    """What only this modality needs (channels, sample rate, durations ...)."""
    spread: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The largest eigenvalue of an encoded example's covariance: the highest noise level follows it. None: unknown."""

    @field_validator("shape")
    @classmethod
    def _can_be_held(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        # a stranger's small file must not ask for all the memory there is
        if not shape or min(shape) < 1 or math.prod(shape) > MAX_NUMBERS:
            raise ValueError(f"must be positive sides of at most {MAX_NUMBERS:,} numbers together, not {list(shape)}")
        return shape


class Examples(NamedTuple):
    """A batch of raw examples, before `encode`."""

    raw: Tensor
    """(B, ...), in the modality's own form, e.g. uint8 pixels."""
    cond: dict[str, Tensor]
    """Conditions with the batch in front; `label`: (B,) int64 when there are labels."""


class Request(NamedTuple):
    """Some of the examples to be sampled, all of one shape."""

    which: tuple[int, ...]
    """Their places in the list of positions."""
    shape: tuple[int, ...]
    """Of one example in model space."""
    cond: dict[str, Tensor] = {}
    """Conditions besides `label`, one row for each of `which`."""
    window: int | None = None
    """How much of the last axis the network sees at once, where the example is longer than it was trained for."""


class Dataset(ABC):
    """Examples by number, all of a batch at once."""

    lengths: Tensor | None = None
    """(N,) int64: how much of its last axis each example fills, where that differs. Batches are then made of examples
    of like length, so that little work goes into padding."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, indices: Tensor) -> Examples:
        """The examples numbered `indices`: (B,) int64."""


class InMemory(Dataset):
    """Examples held as tensors: raw (N, ...) and conditions by name, each (N, ...)."""

    def __init__(self, raw: Tensor, cond: Mapping[str, Tensor] | None = None) -> None:
        self.raw = raw
        self.cond = dict(cond or {})

    def __len__(self) -> int:
        return len(self.raw)

    def take(self, indices: Tensor) -> Examples:
        return Examples(self.raw[indices], {name: value[indices] for name, value in self.cond.items()})


class Inspection(NamedTuple):
    """What is in a folder, and what to train from it."""

    rows: list[tuple[str, str]]
    """(what, how much), with proposals at the end."""
    changes: dict[str, Any]
    """Proposed values at dotted keys of a recipe."""


class Modality(ABC):
    """Reads data, says what a network for it is, and turns model space back into files and pictures."""

    name: ClassVar[str]
    default_recipe: ClassVar[str | Mapping[str, Any]]
    """What `toolkit train --modality X` trains: a recipe's name ("image/digits") or a recipe as a mapping."""
    Data: ClassVar[type[Options]] = Options
    """The [data] section; without options by default. A field `source` (name or folder) is what --data sets."""
    Model: ClassVar[type[Options]] = Options
    """The [model] section; without options by default."""
    Ask: ClassVar[type[Options]] = Options
    """What can be asked of a sample besides its label, e.g. its duration: the options of `toolkit sample`."""
    shown: ClassVar[tuple[int, int]] = (40, 100)
    """Samples in a preview while a run trains, and at its end."""
    grain: ClassVar[int] = 1
    """Where windows of a long example may begin: at multiples of so many positions."""

    def __init__(self, data: Options, model: Options, facts: Facts | None = None) -> None:
        """`facts` come from a run that was trained before; without them, call `open` first."""
        self.data = data
        self.model = model
        self._facts = facts

    @property
    def facts(self) -> Facts:
        if self._facts is None:
            raise RuntimeError("the data has not been opened: call open() first")
        return self._facts

    @property
    def shape(self) -> tuple[int, ...]:
        return self.facts.shape

    @property
    def labels(self) -> tuple[str, ...]:
        return self.facts.labels

    def open(self, cache: Path, notify: Callable[[str], None] = print) -> Facts:
        """Read data, or find it cached; keep and return what was learned. Raises DataError when none is usable."""
        self._facts = self.read_data(cache, notify)
        return self._facts

    def learn(self, **found: Any) -> Facts:
        """Keep what was measured in the open data among the facts, and return them."""
        self._facts = self.facts.model_copy(update=found)
        return self._facts

    @abstractmethod
    def read_data(self, cache: Path, notify: Callable[[str], None]) -> Facts:
        """The work of `open`. After it, `dataset` works. `notify` takes one line for the user."""

    @abstractmethod
    def dataset(self, split: str) -> Dataset:
        """`split` is "train" or "test"."""

    @abstractmethod
    def network(self) -> nn.Module:
        """A new network: forward(x (B, *shape), c_noise (B,), cond dict) -> (B, *shape)."""

    def denoiser(self, net: nn.Module, schedule: Schedule, prediction: str) -> Denoiser:
        """The network as a denoiser, taught to predict what `prediction` names. Raises ValueError."""
        from toolkit.diffusion.denoiser import RegressionDenoiser

        return RegressionDenoiser(net, schedule, prediction)

    def noise_levels(self) -> tuple[float, float, float] | None:
        """(lowest, middle, highest) sigma / alpha where there is anything to learn; None: as for data of variance 1."""
        return None

    def augment(self, raw: Tensor, draws: Draws) -> Tensor:
        """A random variation of training examples `raw`, by a row of `draws` for each; the default is none."""
        return raw

    def encode(self, raw: Tensor) -> Tensor:
        """Raw examples to model space, float32 with mean 0 and variance 1 over the training set."""
        return (raw.float() - self.facts.mean) / self.facts.std

    def decode(self, x: Tensor) -> Tensor:
        """Model space to raw examples; `encode` of it is `x` up to quantisation."""
        return x * self.facts.std + self.facts.mean

    def prepare(self, examples: Examples, draws: Draws) -> Examples:
        """Training examples as the network meets them: augmented by `draws` alone, with all conditions, cut to need."""
        return Examples(self.augment(examples.raw, draws), examples.cond)

    def requests(self, ask: Options, labels: Tensor | None, seed: int, positions: Sequence[int]) -> list[Request]:
        """What to sample at `positions`, given `ask`, an `Ask`, and the labels (B,) int64 or None.

        Several when lengths differ. What is drawn is a function of (seed, position). Raises UsageError, DataError.
        """
        return [Request(tuple(range(len(positions))), self.shape)]

    def renewed(self, request: Request, seed: int, positions: Sequence[int], round: int) -> Request:
        """A request for the `round`-th restart of its samples, with what is to be drawn anew: nothing by default."""
        return request

    def polish(self, x: Tensor, cond: Mapping[str, Tensor], ask: Options) -> Tensor:
        """What follows a sampler's last step: x (B, *space), with the conditions of its `Request`, or one like it."""
        return x

    def count(self, ask: Options) -> int | None:
        """How many samples `ask` means, when that does not depend on the user's -n."""
        return None

    def review(self, schedule: Schedule) -> None:  # noqa: B027, every schedule will do by default
        """Raise UsageError, with the reason, when this data cannot be learnt under a schedule."""

    def network_notes(self, net: nn.Module) -> list[tuple[str, str]]:
        """(what, how much) rows about a network for the plan, e.g. how far it sees."""
        return []

    def augment_note(self) -> str:
        """One line on what `augment` does, for the plan; empty when it does nothing."""
        return ""

    def read(self, path: Path) -> Tensor:
        """One raw example from a file, without the batch. Raises DataError."""
        raise UsageError(f"modality '{self.name}' reads no files")

    @abstractmethod
    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], ask: Options | None = None) -> list[Path]:
        """Save raw examples (B, ...) as single files folder/stem.*, and return their paths. `ask`: an `Ask`."""

    def page(self, raw: Tensor, labels: Sequence[str], real: Examples | None = None) -> str:
        """A self-contained HTML page of raw examples beside real ones, or "" where a picture says it all."""
        return ""

    def assess(self, made: Examples, notify: Callable[[str], None], wishes: Wishes) -> EvaluationResult:
        """How good made examples are, beside real ones; cond["label"] is what was asked for. The data is open.

        Raises DataError, UsageError.
        """
        raise UsageError(f"modality '{self.name}' cannot be evaluated: it has no method assess")

    def likelihood(
        self, denoiser: Denoiser, law: TimeDistribution | None, count: int, notify: Callable[[str], None]
    ) -> list[Figure]:
        """What `count` held-out examples cost in bits, in this modality's own unit. The data is open.

        `law`: of the noise levels the denoiser was trained on. Raises DataError, UsageError.
        """
        raise UsageError(f"modality '{self.name}' has no likelihood")

    def lines(self, raw: Tensor, labels: Sequence[str] = ()) -> list[str]:
        """Raw examples as lines for a terminal, free of control characters; [] where there is nothing to read."""
        return []

    def rate_note(self, raw: Tensor, seconds: float) -> str:
        """How fast examples `raw` were made in `seconds`, in this modality's own unit; "" for examples a second."""
        return ""

    @classmethod
    def inspect(cls, path: Path, notify: Callable[[str], None]) -> Inspection:
        """What is in a folder of the user's and what to do with it. Raises UsageError, DataError."""
        raise UsageError(f"modality '{cls.name}' cannot inspect folders")

    @abstractmethod
    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """One picture that shows the raw examples (B, ...) together."""

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """One picture of raw examples at several moments, (T, B, ...), noise first: previews side by side."""
        import PIL.Image

        frames = [self.preview(moment).convert("RGB") for moment in moments]
        whole = PIL.Image.new("RGB", (sum(frame.width for frame in frames), frames[0].height), "white")
        for i, frame in enumerate(frames):
            whole.paste(frame, (i * frame.width, 0))
        return whole


def find(name: str) -> type[Modality]:
    """The modality called `name`: "image" (ours), "./video.py" (a file) or "my_package.video" (a module).

    Raises UsageError when there is none, or when a foreign package called `modalities` is in the way.
    """
    module = _ours(name) if name in BUILT_IN else load(name)
    local = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Modality) and c is not Modality]
    found = [c for c in local if c.__module__ == module.__name__] or local
    if len(found) != 1:
        raise UsageError(f"'{name}' must define one Modality class, and defines {len(found)}")
    return found[0]


def load(name: str, what: str = "modality") -> Any:
    """The user's module called `name`, a .py file or one that can be imported, which is run. Raises UsageError."""
    is_path = name.endswith(".py") or "/" in name
    return _from_file(Path(name).expanduser(), what) if is_path else _from_module(name, what)


def _from_file(path: Path, what: str) -> Any:
    if not path.is_file():
        raise UsageError(f"no such {what} file: {path}")
    spec = importlib.util.spec_from_file_location(f"toolkit_modality_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _ours(name: str) -> Any:
    package = importlib.import_module("modalities")
    if getattr(package, "PROJECT", None) != _MARK:
        where = getattr(package, "__file__", None) or next(iter(getattr(package, "__path__", ["?"])))
        raise UsageError(f"a foreign package 'modalities' ({where}) hides ours; uninstall it or use a fresh venv")
    return importlib.import_module(f"modalities.{name}")


def _from_module(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        known = f"known: {', '.join(BUILT_IN)}, or" if what == "modality" else "give one that is installed, or"
        raise UsageError(f"no {what} '{name}' ({error}); {known} a path to a .py file") from None
