"""What was sampled, and how it becomes files, or what a notebook shows."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from toolkit.modality import Modality, Options
from toolkit.training.storage.files import write_text_atomic

_FRAME = '<iframe srcdoc="{}" style="width: 100%; height: 480px; border: 0"></iframe>'


@dataclass(frozen=True, repr=False)
class Samples:
    """What `Generator.sample` returns. `samples[3]`, `samples[2:5]` and `samples[[0, 7]]` are some of them."""

    x: Tensor
    """As the modality encodes examples: (n, *shape)."""
    labels: tuple[str, ...]
    """Asked label of each sample; empty for an unconditional model."""
    modality: Modality
    seed: int
    ask: Options
    """What was asked of them besides labels."""

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, which: int | slice | Sequence[int]) -> Samples:
        """Some of them, one for a number. Raises IndexError."""
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
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{html.escape(repr(self))}" src="data:image/png;base64,{data}">'

    @property
    def raw(self) -> Tensor:
        """In the modality's own form, e.g. uint8 pixels (n, C, H, W)."""
        return self.modality.decode(self.x)

    def save(self, folder: str | Path) -> list[Path]:
        """Write one overview picture, a page where the modality has one, and one file for each sample.

        Returns the paths: the overview, the page, the files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        raw = self.raw
        overviews = [folder / "grid.png"]
        self.modality.preview(raw, self.labels).save(overviews[0])
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


def gather(parts: Sequence[tuple[Sequence[int], Tensor]]) -> Tensor:
    """Batches (b, *), each with the places of its examples, as one (n, *), zeros behind the shorter ones."""
    longest = max(x.shape[-1] for _, x in parts)
    first = parts[0][1]
    whole = torch.zeros(sum(len(x) for _, x in parts), *first.shape[1:-1], longest, dtype=first.dtype)
    for places, x in parts:
        whole[list(places), ..., : x.shape[-1]] = x
    return whole
