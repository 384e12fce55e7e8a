"""A small classifier trained on real examples: it predicts the label of a sample, and gives features to compare.

It is trained once for each data set with a fixed seed, kept in the cache, and identified by a hash, because a distance
means something only under one judge. A modality adds its network, the network's input, the augmentation, and the
hyperparameters of the training.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit import paths
from toolkit.data.dataset import Dataset, Facts, Splits, spaced
from toolkit.diffusion.randomness import seeded_generator
from toolkit.errors import DataError
from toolkit.evaluation import judge_file

_AT_ONCE = 500


@dataclass(frozen=True)
class Task:
    """Classification task of a judge: the labels of the data, or invented ones."""

    source: str
    """The data's name or folder."""
    facts: Facts
    train: Dataset
    test: Dataset
    pretext: bool = False
    """True where the labels are invented (see pretext.py): the features are of use, the predictions are not."""

    @classmethod
    def of(cls, data: Splits) -> Task:
        """Return the task of an opened data set's labels. Raises DataError when it has none, or no test split."""
        if not data.facts.labels or not len(data.test):
            raise DataError(f"a judge needs labels and a test split, and data '{data.source}' lacks one of them")
        return cls(data.source, data.facts, data.train, data.test)


@dataclass(frozen=True)
class TrainingSchedule:
    """Hyperparameters of a judge's training: AdamW with one cycle of the learning rate."""

    steps: int
    batch: int
    lr: float
    """Highest learning rate."""
    weight_decay: float
    smoothing: float = 0.0
    """Label smoothing (Szegedy et al. 2016)."""


class Classifier(nn.Module):
    """A body, whose output (B, d) are the features, and one linear layer on them."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.body(x))
        return output


class Judge(ABC):
    """A classifier for raw examples of the shape it was trained on; `obtain` returns a trained one."""

    kind: ClassVar[str]
    """The modality's name: the beginning of the file's name in the cache."""
    version: ClassVar[int] = 1
    """Increased when network, input, augmentation or course change, so that no older judge is taken from the cache."""
    course: ClassVar[TrainingSchedule]
    held: ClassVar[int] = 0
    """Training examples that are prepared once and held in memory, where preparing costs more than a training step;
    of larger sets as many are used, spread evenly. 0: each batch is prepared anew."""

    name = ""
    """Data set and hash of the weights, e.g. "mnist-3f2a1c"."""
    accuracy = float("nan")
    """Accuracy on the real test split."""
    tested = 0
    """Real test examples."""
    pretext = False
    """True where it was trained on invented labels."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.names = facts.labels
        self.net = self.network()

    @abstractmethod
    def network(self) -> Classifier:
        """Return a new network for data with `self.facts`."""

    @abstractmethod
    def prepare(self, raw: Tensor) -> Tensor:
        """Return the network's input for raw examples: (B, ...) to (B, C, H, W) float32."""

    @abstractmethod
    def augment(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Return a variation of prepared training examples, random by `draw` only."""

    @torch.inference_mode()
    def features(self, raw: Tensor) -> Tensor:
        """Return the input of the last layer: (B, d) float32."""
        return torch.cat([self.net.body(self.prepare(part)) for part in raw.split(_AT_ONCE)])

    @torch.inference_mode()
    def probabilities(self, raw: Tensor) -> Tensor:
        """Return the probability of each label: (B, K) float32, rows sum to 1."""
        return self.of_features(self.features(raw))

    @torch.inference_mode()
    def of_features(self, features: Tensor) -> Tensor:
        """Return the probability of each label from features (B, d): (B, K) float32."""
        output: Tensor = self.net.head(features).softmax(1)
        return output

    @torch.inference_mode()
    def labels(self, raw: Tensor) -> Tensor:
        """Return the most likely label of each example: (B,) int64."""
        output: Tensor = self.net.head(self.features(raw)).argmax(1)
        return output

    def fit(self, source: Callable[[Tensor], tuple[Tensor, Tensor]], count: int) -> None:
        """Train the network. `source`: from numbers (B,) int64 below `count` to prepared examples and labels (B,)."""
        course, net = self.course, self.net
        optimizer = torch.optim.AdamW(net.parameters(), course.lr, weight_decay=course.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, course.lr, course.steps)
        net.train()
        for step in range(course.steps):
            draw = seeded_generator(0, "judge", step)
            x, labels = source(torch.randint(count, (course.batch,), generator=draw))
            loss = functional.cross_entropy(net(self.augment(x, draw)), labels, label_smoothing=course.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        net.eval()


_J = TypeVar("_J", bound=Judge)


def obtain(kind: type[_J], data: Splits | Task, notify: Callable[[str], None] = print) -> _J:
    """Return the judge for an opened data set or a task, from the cache or trained now (a minute or two).

    Raises DataError when the data has no labels or no test split.
    """
    task = Task.of(data) if isinstance(data, Splits) else data
    # what the judge depends on: the data (through its facts), our choices, and the library's arithmetic
    facts = task.facts.model_dump_json(exclude={"rejected"})
    course = kind.course
    key = hashlib.sha256(f"{kind.version} {course.steps} {course.batch} {task.source} {facts}".encode()).hexdigest()[
        :16
    ]
    path = paths.cache() / "judges" / f"{kind.kind}-{key}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # only initialises modules and drives dropout; restored afterwards
        judge = kind(task.facts)
        judge.pretext = task.pretext
        stored = judge_file.load(path, judge.net.state_dict())
        if stored is None:
            why = f"the judge in {path} is damaged: " if path.exists() else ""
            notify(f"{why}training the judge for '{task.source}' (once; kept in {path})")
            judge.fit(*_training(judge, task.train))
        else:
            judge.net.load_state_dict(stored.weights)
        judge.net.eval()
        if stored is not None and stored.tested:
            right, judge.tested = stored.right, stored.tested
        else:
            hits = recognises(judge, task.test)
            right, judge.tested = int(hits.sum()), len(hits)
            judge_file.keep(path, judge.net.state_dict(), right, judge.tested)
    judge.name = f"{Path(task.source).name}-{judge_file.digest(judge.net.state_dict())[:6]}"
    judge.accuracy = right / judge.tested
    return judge


def train_on(judge: Judge, data: Dataset) -> Judge:
    """Return a judge like `judge`, for the same labels, trained on other data; it is not cached."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        other = type(judge)(judge.facts)
        other.fit(*_training(other, data))
    return other


def recognises(judge: Judge, data: Dataset) -> Tensor:
    """Return whether the judge predicts the right label of each example: (N,) bool."""
    right = [torch.zeros(0, dtype=torch.bool)]
    for part in torch.arange(len(data)).split(_AT_ONCE):
        examples = data.take(part)
        right.append(judge.labels(examples.raw) == examples.cond["label"])
    return torch.cat(right)


def cross_validate(kind: type[Judge], data: Splits, folds: int = 5) -> Tensor:
    """Return whether each example of both splits is recognised by a judge trained on the other folds: (N,) bool.

    For data whose test split is too small to say much. Every label is spread evenly over the folds, as far as it
    goes. All examples are held in memory.
    """
    judge = kind(data.facts)
    x, labels = _prepare(judge, [data.train, data.test])
    fold = folds_of(labels, folds)
    right = torch.zeros(len(labels), dtype=torch.bool)
    for i in range(folds):
        rest, own = (fold != i).nonzero()[:, 0], (fold == i).nonzero()[:, 0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            judge = kind(data.facts)
            judge.fit(lambda rows, rest=rest: (x[rest[rows]], labels[rest[rows]]), len(rest))  # type: ignore[misc]
        with torch.inference_mode():
            right[own] = judge.net(x[own]).argmax(1) == labels[own]
    return right


def folds_of(labels: Tensor, folds: int) -> Tensor:
    """Return a fold for each of labels (N,) int64, (N,) int64; sizes differ by at most one, of a label and in total."""
    order = torch.randperm(len(labels), generator=seeded_generator(0, "folds"))
    order = order[labels[order].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[order] = torch.arange(len(labels)) % folds
    return fold


def _training(judge: Judge, data: Dataset) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], int]:
    """Return the source of a judge's training, and how many examples it has."""
    if judge.held:
        x, labels = _prepare(judge, [data], judge.held)
        return lambda rows: (x[rows], labels[rows]), len(labels)

    def source(rows: Tensor) -> tuple[Tensor, Tensor]:
        examples = data.take(rows)
        return judge.prepare(examples.raw), examples.cond["label"]

    return source, len(data)


def _prepare(judge: Judge, sets: Sequence[Dataset], most: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the network's input for all examples, or for `most` of each set, and their labels."""
    inputs, labels = [], []
    for data in sets:
        for part in spaced(len(data), len(data) if most is None else most).split(_AT_ONCE):
            examples = data.take(part)
            inputs.append(judge.prepare(examples.raw))
            labels.append(examples.cond["label"])
    return torch.cat(inputs), torch.cat(labels)
