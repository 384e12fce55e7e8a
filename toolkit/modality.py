"""The contract between the core, which knows tensors, and a modality, which knows what they mean.

A modality is one class with four methods: load, network, preview, write. Three parts can be added: conditioning, view,
evaluator. `toolkit.discovery.find` takes "image", "my_package.video" and "./video.py"; there is no
registry to edit. tests/points.py is a complete modality in about 50 lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from toolkit.conditioning import Conditioning, Request
from toolkit.data.dataset import Dataset, Examples, Facts, InMemory, Splits
from toolkit.errors import UsageError
from toolkit.recipe.options import Options
from toolkit.view import View

if TYPE_CHECKING:
    import PIL.Image
    from torch import Tensor, nn

    from toolkit.diffusion.denoiser import Denoiser
    from toolkit.diffusion.schedule import Schedule
    from toolkit.evaluation.evaluator import Evaluator

__all__ = ["Conditioning", "Dataset", "Examples", "Facts", "InMemory", "Modality", "Options", "Request"]
__all__ += ["Splits", "View"]


class Modality(ABC):
    """The meaning of tensors: reads data, builds a network for it, turns samples into files and pictures."""

    name: ClassVar[str]
    default_recipe: ClassVar[str | Mapping[str, Any]]
    """Recipe of `toolkit train --modality X`: a name ("image/digits") or a recipe as a mapping."""
    Data: ClassVar[type[Options]] = Options
    """The [data] section; without options by default. A field `source` (name or folder) is what --data sets."""
    Model: ClassVar[type[Options]] = Options
    """The [model] section; without options by default."""
    SampleOptions: ClassVar[type[Options]] = Options
    """Options of `toolkit sample` besides the label, e.g. a duration."""
    EvaluationOptions: ClassVar[type[Options]] = Options
    """Options of `toolkit evaluate` besides the usual, e.g. another judge."""
    extensions: ClassVar[frozenset[str]] = frozenset()
    """Endings of files by which a folder is recognised as of this modality, e.g. ".png"."""

    def __init__(self, data: Options, model: Options, facts: Facts | None = None) -> None:
        """`facts` come from a run that was trained before; without them, call `open` first."""
        self.data, self.model = data, model
        self._facts = facts
        self.splits: Splits | None = None  # of the open data

    @abstractmethod
    def load(self, cache: Path, notify: Callable[[str], None]) -> Splits:
        """Read the data, or take it from `cache`. `notify` takes one line for the user. Raises DataError."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Return a new network: forward(x (B, *shape), c_noise (B,), cond dict) -> (B, *shape)."""

    @abstractmethod
    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """Return one picture that shows the raw examples (B, ...) together."""

    @abstractmethod
    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], options: Options | None = None) -> list[Path]:
        """Save raw examples (B, ...) as single files folder/stem.*, and return their paths.

        By `toolkit.training.storage.files`, which writes whole files or none, and through no link.
        `options`: a `SampleOptions`.
        """

    def encode(self, raw: Tensor) -> Tensor:
        """Return raw examples in model space, float32 with mean 0 and variance 1 over the training set."""
        return (raw.float() - self.facts.mean) / self.facts.std

    def decode(self, x: Tensor) -> Tensor:
        """Return model space as raw examples; `encode` of it is `x` up to quantisation."""
        return x * self.facts.std + self.facts.mean

    def denoiser(self, net: nn.Module, schedule: Schedule, prediction: str) -> Denoiser:
        """Return the network as a denoiser, taught to predict what `prediction` names.

        Raises ValueError for a prediction, UsageError for a schedule, that does not fit this data.
        """
        from toolkit.diffusion.denoiser import RegressionDenoiser

        return RegressionDenoiser(net, schedule, prediction)

    def describe(self, net: nn.Module) -> list[tuple[str, str]]:
        """Return (name, value) rows about data and network for the plan of a run, e.g. how far the network sees."""
        return []

    def wrong_facts(self) -> str:
        """Return why the facts of a run, which may be a stranger's, are none that `load` gives; "" where they can be.

        `Facts` itself has been checked; what is left are the shape and `extra`, which only the modality knows.
        """
        return ""

    def conditioning(self) -> Conditioning:
        """Return what the network is told besides the noise level, in training and in sampling."""
        return Conditioning(self.shape)

    def view(self) -> View:
        """Return what people look at besides `preview`."""
        return View(self.preview)

    def evaluator(self) -> Evaluator | None:
        """Return what judges samples, or None: `toolkit evaluate` then says that there is no such thing."""
        return None

    def open(self, cache: Path, notify: Callable[[str], None] = print) -> Facts:
        """Load the data, keep it and its facts, and return these. Raises DataError when none is usable."""
        self.splits = self.load(cache, notify)
        self._facts = self.splits.facts
        return self._facts

    def learn(self, **properties: Any) -> Facts:
        """Add properties of the open data, measured elsewhere, to the facts, and return these."""
        self._facts = self.facts.model_copy(update=properties)
        return self._facts

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

    def dataset(self, split: str) -> Dataset:
        """Return the split "train" or "test" of the open data; test may be empty. Raises UsageError."""
        if split not in ("train", "test"):
            raise UsageError(f"unknown split '{split}'; known: train, test")
        if self.splits is None:
            raise RuntimeError("the data has not been opened: call open() first")
        return self.splits.train if split == "train" else self.splits.test
