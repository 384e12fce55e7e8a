"""Samples, and how they become files, or what a notebook shows."""

from __future__ import annotations

import html
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from toolkit.modality import Modality, Options
from toolkit.run.notebook import image
from toolkit.training.storage.files import make_folder, write_stream_atomic, write_text_atomic

_FRAME = '<iframe srcdoc="{}" style="width: 100%; height: 480px; border: 0"></iframe>'


@dataclass(frozen=True, repr=False)
class Samples:
    """Samples of a `Generator`. `samples[3]`, `samples[2:5]` and `samples[[0, 7]]` are some of them."""

    x: Tensor
    """As the modality encodes examples: (n, *shape)."""
    labels: tuple[str, ...]
    """Asked label of each sample; empty for an unconditional model."""
    modality: Modality
    seed: int
    ask: Options
    """Options of the samples besides labels."""

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, which: int | slice | Sequence[int]) -> Samples:
        """Return some of the samples, or one for a number. Raises IndexError."""
        rows = torch.arange(len(self))[[which] if isinstance(which, int) else which]
        labels = tuple(self.labels[i] for i in rows.tolist()) if self.labels else ()
        return replace(self, x=self.x[rows], labels=labels)

    def __iter__(self) -> Iterator[Samples]:
        """One by one."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        labels = sorted(set(self.labels), key=self.labels.index)
        shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        shape = " x ".join(str(side) for side in self.x.shape[1:])
        return f"<{len(self)} samples of {self.modality.name}, {shape}, seed {self.seed}{shown and f': {shown}'}>"

    def _repr_html_(self) -> str:
        """The page where the modality has one, with players and texts, or one picture of all."""
        raw = self.raw
        if page := self.modality.view().page(raw, self.labels):
            return _FRAME.format(html.escape(page))
        buffer = io.BytesIO()
        self.modality.preview(raw, self.labels).save(buffer, "PNG")
        return image(buffer.getvalue(), repr(self))

    @property
    def raw(self) -> Tensor:
        """In the modality's own form, e.g. uint8 pixels (n, C, H, W)."""
        return self.modality.decode(self.x)

    def save(self, folder: str | Path) -> list[Path]:
        """Write one overview picture, a page where the modality has one, and one file for each sample.

        Returns the paths: the overview, the page, the files. Raises StorageError.
        """
        folder = Path(folder)
        make_folder(folder)
        raw = self.raw
        overviews = [folder / "grid.png"]
        picture = self.modality.preview(raw, self.labels)
        write_stream_atomic(overviews[0], lambda stream: picture.save(stream, "PNG"), durable=False)
        if page := self.modality.view().page(raw, self.labels):
            overviews.append(folder / "index.html")
            write_text_atomic(overviews[1], page)
        width = len(str(max(0, len(self) - 1)))
        ends = [f"-{self._plain(label)}" for label in self.labels] or [""] * len(self)
        names = [f"{i:0{width}d}{end}" for i, end in enumerate(ends)]
        return [*overviews, *self.modality.write(raw, folder, names, self.ask)]

    @staticmethod
    def _plain(label: str) -> str:
        return "".join(c if c.isalnum() or c in "-_" else "_" for c in label)[:40]


@dataclass(frozen=True, repr=False)
class SampleStep:
    """One step of the sampler on the way to samples, as `Generator.steps` yields it."""

    index: int
    """Steps taken, of all batches: 1 to `total`."""
    total: int
    which: tuple[int, ...]
    """The samples of this batch, by number."""
    t: float
    s: float
    """From time t to s < t; 0 is without noise."""
    x: Tensor
    """x_s of this batch in model space, (b, *), on the run's device."""
    x_hat: Tensor
    """Posterior mean of the last call: (b, *)."""
    so_far: Callable[[], Samples]

    @property
    def samples(self) -> Samples:
        """The samples of earlier batches, and those of this one as far as they are: x_hat, at the end x."""
        return self.so_far()

    def __repr__(self) -> str:
        return f"<step {self.index} of {self.total} for {len(self.which)} samples, t = {self.t:.4g} to {self.s:.4g}>"


def drain(steps: Iterable[SampleStep]) -> Samples:
    """Take all steps, and return the samples that the last one has."""
    (last,) = deque(steps, maxlen=1)
    return last.samples


Part = tuple[Sequence[int], Tensor]
"""Numbers of some samples, and these (b, *)."""


def gather(parts: Sequence[Part]) -> Tensor:
    """Return batches (b, *) as one (n, *) in the order of their numbers, zeros behind the shorter ones."""
    longest = max(x.shape[-1] for _, x in parts)
    first = parts[0][1]
    row = {number: i for i, number in enumerate(sorted(number for which, _ in parts for number in which))}
    whole = torch.zeros(len(row), *first.shape[1:-1], longest, dtype=first.dtype)
    for which, x in parts:
        whole[[row[number] for number in which], ..., : x.shape[-1]] = x
    return whole
