"""The part of a modality that evaluates: metrics of samples, and bits of held-out examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from toolkit.data.dataset import Examples, Splits
from toolkit.errors import DataError
from toolkit.recipe.options import Options

if TYPE_CHECKING:
    from toolkit.diffusion.denoiser import Denoiser
    from toolkit.diffusion.loss import TimeDistribution
    from toolkit.evaluation.table import EvaluationResult, Metric

Notify = Callable[[str], None]
"""Takes one line for the user."""


class ClassifierOptions(Options):
    """Options of an evaluator whose judge is a classifier."""

    cas: bool = False
    """Train a classifier on samples, and test it on real examples (classification accuracy score); slow."""


class Evaluator(ABC):
    """Judges samples beside an opened data set. It sees data, not the modality's class."""

    counts_bits: ClassVar[bool] = False
    """True where `likelihood` is implemented."""
    meanings: ClassVar[Mapping[str, str]] = {}
    """One sentence for each of its own metrics, by name or pattern, as in toolkit/evaluation/meaning.py."""

    @abstractmethod
    def metrics(self, samples: Examples, data: Splits, options: Options, notify: Notify) -> EvaluationResult:
        """Return the metrics of samples; cond["label"] holds the labels that they were sampled for.

        `options`: the modality's `EvaluationOptions`. Raises DataError, UsageError.
        """

    def check(self, count: int, data: Splits) -> None:  # noqa: B027, any number will do by default
        """Raise DataError when `count` samples, or this data, are too few; called before anything that takes long."""

    def reading(self, samples: Path, reference: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options of [data] that folders to be judged are read with, from those that the user set."""
        return options

    def likelihood(
        self, denoiser: Denoiser, times: TimeDistribution | None, data: Splits, count: int, notify: Notify
    ) -> list[Metric]:
        """Return the bits of `count` held-out examples, in the modality's own unit.

        `times`: distribution of the noise levels that the denoiser was trained on. Raises DataError, UsageError.
        """
        raise NotImplementedError

    def check_alike(self, samples: Splits, real: Splits, where: str) -> None:
        """Raise DataError, which begins with `where`, when examples of two folders cannot be compared as they are."""
        mine, theirs = samples.facts.shape, real.facts.shape
        if mine != theirs:
            sizes = [" x ".join(map(str, shape)) for shape in (mine, theirs)]
            raise DataError(f"{where} has examples of {sizes[0]} and the reference of {sizes[1]}")
