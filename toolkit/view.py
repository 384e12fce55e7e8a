"""Pictures on the way from noise to sample, pages and lines: all that people look at."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from toolkit.data.dataset import Examples

if TYPE_CHECKING:
    import PIL.Image
    from torch import Tensor

    Preview = Callable[[Tensor], PIL.Image.Image]


@dataclass(frozen=True)
class Shown:
    """One example, as a page can hold it."""

    picture: bytes = b""
    """A PNG."""
    sound: bytes = b""
    """A file that browsers play."""
    text: str = ""


class View:
    """Pictures alone; override what a modality shows besides."""

    counts: ClassVar[tuple[int, int]] = (40, 100)
    """Samples in a preview while a run trains, and at its end."""

    def __init__(self, preview: Preview) -> None:
        """`preview`: raw examples (B, ...) as one picture."""
        self.preview = preview

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """Return one picture of raw examples at several moments, (T, B, ...), noise first: previews side by side."""
        import PIL.Image

        frames = [self.preview(moment).convert("RGB") for moment in moments]
        whole = PIL.Image.new("RGB", (sum(frame.width for frame in frames), frames[0].height), "white")
        for i, frame in enumerate(frames):
            whole.paste(frame, (i * frame.width, 0))
        return whole

    def page(self, raw: Tensor, labels: Sequence[str], real: Examples | None = None) -> str:
        """Return a self-contained HTML page of raw examples beside real ones, or "" where a picture says it all."""
        return ""

    def shown(self, raw: Tensor) -> list[Shown]:
        """Return raw examples (B, ...) one by one, for pages that put examples of several runs side by side."""
        examples = []
        for i in range(len(raw)):
            buffer = io.BytesIO()
            self.preview(raw[i : i + 1]).save(buffer, "PNG")
            examples.append(Shown(buffer.getvalue()))
        return examples

    def lines(self, raw: Tensor, labels: Sequence[str] = ()) -> list[str]:
        """Return raw examples as lines for a terminal, free of control characters; [] where there is none to read."""
        return []

    def rate(self, raw: Tensor, seconds: float) -> str:
        """Return how fast examples `raw` were made in `seconds`, in the modality's own unit; "": examples a second."""
        return ""
