"""Examples by number, in batches, and facts about all of them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from toolkit.data.understood import Row, Understood

if TYPE_CHECKING:
    from torch import Tensor

MAX_NUMBERS = 1 << 26
"""Most numbers in one example."""
_IDENTITY = r"^[0-9a-f]{0,64}$"
LISTED = 1_000
"""Rejected files that facts name one by one."""


class Facts(BaseModel):
    """Properties of the data, measured when it is first read; stored in the run, so sampling needs no data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[int, ...]
    """Shape of one encoded example, without the batch."""
    labels: tuple[str, ...] = ()
    """Names of the labels; () = unconditional; index len(labels) is the null label."""
    mean: float = Field(default=0.0, allow_inf_nan=False)
    std: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Deviation of the data before encoding; `Modality.encode` removes it and `mean`, so x has unit variance."""
    bounds: tuple[float, float] | None = None
    """Smallest and largest value an encoded example can have; None where there are none."""
    count: int = Field(default=0, ge=0, lt=1 << 63)
    """Training examples."""
    rejected: tuple[str, ...] = ()
    """One line for each file that could not be used, with the reason; the first `LISTED`, and how many more."""
    extra: dict[str, int | float | str | bool | tuple[float, ...]] = {}
    """Properties that only this modality needs (channels, sample rate, durations ...)."""
    identity: str = Field(default="", pattern=_IDENTITY)
    """Hash of all encoded content, labels and splits, from `identity_of`: equal ones mean equal data. "": unknown."""
    spread: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The largest eigenvalue of an encoded example's covariance: the highest noise level follows it. None: unknown."""

    @field_validator("shape")
    @classmethod
    def _can_be_held(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        # a stranger's small file must not ask for all the memory there is
        if not shape or min(shape) < 1 or math.prod(shape) > MAX_NUMBERS:
            raise ValueError(f"must be positive sides of at most {MAX_NUMBERS:,} numbers together, not {list(shape)}")
        return shape

    @field_validator("bounds")
    @classmethod
    def _rise(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not -math.inf < bounds[0] < bounds[1] < math.inf:
            raise ValueError(f"must be two numbers, the first below the second, not {list(bounds)}")
        return bounds

    @field_validator("rejected")
    @classmethod
    def _short(cls, rejected: tuple[str, ...]) -> tuple[str, ...]:
        more = len(rejected) - LISTED
        return rejected if more <= 1 else (*rejected[:LISTED], f"... and {more} more")


class Examples(NamedTuple):
    """A batch of raw examples, before `Modality.encode`."""

    raw: Tensor
    """(B, ...), in the modality's own form, e.g. uint8 pixels."""
    cond: dict[str, Tensor]
    """Conditions with the batch in front; `label`: (B,) int64 when there are labels."""


class Dataset(ABC):
    """Examples by number, all of a batch at once."""

    lengths: Tensor | None = None
    """(N,) int64: how much of its last axis each example fills, where that differs. Batches are then made of examples
    of like length, so that little work goes into padding."""

    labels: Tensor | None = None
    """(N,) int64: the label of each example, where there are labels and they are known without reading it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, indices: Tensor) -> Examples:
        """Return the examples numbered `indices`, (B,) int64."""


class InMemory(Dataset):
    """Examples held as tensors: raw (N, ...) and conditions by name, each (N, ...)."""

    def __init__(self, raw: Tensor, cond: Mapping[str, Tensor] | None = None) -> None:
        self.raw = raw
        self.cond = dict(cond or {})
        self.labels = self.cond.get("label")

    def __len__(self) -> int:
        return len(self.raw)

    def take(self, indices: Tensor) -> Examples:
        return Examples(self.raw[indices], {name: value[indices] for name, value in self.cond.items()})


@dataclass(frozen=True)
class Splits:
    """An opened data set."""

    source: str
    """Its name or folder."""
    train: Dataset
    test: Dataset
    """Held-out examples; it may be empty."""
    facts: Facts
    understood: Understood = field(default_factory=Understood)
    """Account of what the reader took, left out and guessed."""

    @classmethod
    def in_memory(cls, source: str, train: InMemory, test: InMemory, labels: tuple[str, ...] = ()) -> Splits:
        """Return the splits with shape, mean and deviation measured over all training numbers."""
        mean, std, shape = float(train.raw.mean()), float(train.raw.std()), tuple(train.raw.shape[1:])
        tensors = [data for split in (train, test) for data in (split.raw, *split.cond.values())]
        identity = identity_of(labels, *(tensor.numpy() for tensor in tensors))
        facts = Facts(shape=shape, labels=labels, mean=mean, std=std, count=len(train), identity=identity)
        rows = [Row(name="splits", value=f"{len(train):,} train, {len(test):,} held out",
                    data={"train": len(train), "test": len(test)})]  # fmt: skip
        if labels and train.labels is not None:
            counts = dict(zip(labels, train.labels.bincount(minlength=len(labels)).tolist(), strict=False))
            each = ", ".join(f"{name} ({count:,})" for name, count in counts.items())
            rows.append(Row(name="labels", value=f"{len(labels):,}: {each}", data=counts))
        return cls(source, train, test, facts, Understood(rows=tuple(rows)))


def check_identity(value: object) -> str:
    """Return an identity that was kept in a file. Raises ValueError for what `identity_of` does not give."""
    if not isinstance(value, str) or re.fullmatch(_IDENTITY, value) is None:
        raise ValueError("no hash")
    return value


def identity_of(labels: Sequence[str], *arrays: Any) -> str:
    """Return a hash of the labels' names and of arrays (numpy, any shape), their shapes and types included."""
    import numpy as np

    digest = hashlib.blake2b(json.dumps(list(labels)).encode(), digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        for start in range(0, len(array), 4096):  # in parts: it may be mapped from a file larger than memory
            digest.update(np.ascontiguousarray(array[start : start + 4096]).data)
    return digest.hexdigest()


def spaced(count: int, most: int) -> Tensor:
    """Return the numbers 0 to count - 1, or `most` of them spread evenly from 0 on: (n,) int64."""
    import torch

    n = min(most, count)
    return torch.arange(n) * count // max(n, 1)


def evenly(data: Dataset, most: int) -> Examples:
    """Return all examples of a split, or `most` of them spread evenly."""
    return data.take(spaced(len(data), most))
