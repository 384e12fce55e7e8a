"""What was sampled, and how it becomes files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from toolkit.modality import Modality, Options
from toolkit.training.storage import write_text_atomic


@dataclass(frozen=True)
class Samples:
    """What `Generator.sample` returns."""

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
        if page := self.modality.page(raw, self.labels):
            overviews.append(folder / "index.html")
            write_text_atomic(overviews[1], page)
        width = len(str(max(0, len(self) - 1)))
        ends = [f"-{self._plain(label)}" for label in self.labels] or [""] * len(self)
        names = [f"{i:0{width}d}{end}" for i, end in enumerate(ends)]
        return [*overviews, *self.modality.write(raw, folder, names, self.ask)]

    @staticmethod
    def _plain(label: str) -> str:
        return "".join(c if c.isalnum() or c in "-_" else "_" for c in label)[:40]
