"""Pictures of a run as data URIs, made smaller where they are large, within a budget for the whole page."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image

from toolkit.report import paper, run_files
from toolkit.report.html import Markup, tag
from toolkit.standalone import uri

BUDGET = 8 << 20
"""Bytes of all pictures of a page together."""
LARGE = 400_000
"""Bytes above which a still picture is packed again."""
SIDE = 1600
"""Pixels; longer sides are made this long when a picture is packed again."""
LARGEST_FILM = 3 << 20
"""Bytes of an animation, which is never packed again."""
FORMATS = ("PNG", "GIF", "JPEG", "WEBP")


@dataclass(frozen=True)
class Picture:
    """One picture that is in the page."""

    uri: str
    width: int
    height: int
    ink: bool = False
    """True for dark ink without background, which becomes light on a dark page."""

    def tag(self, alt: str) -> Markup:
        """The element that shows it."""
        kind = "ink" if self.ink else None
        return tag("img", src=self.uri, width=self.width, height=self.height, alt=alt, class_=kind)


@dataclass
class Album:
    """Takes pictures of a run until the budget is used up."""

    run: Path
    left: int = BUDGET
    drawings: bool = False
    """Pictures are drawings of sounds or texts, and no photographs: the paper of those that have one is taken away."""
    omitted: list[str] = field(default_factory=list)
    """Names of pictures that did not fit."""

    def take(self, path: Path, side: int = SIDE, plot: bool = False) -> Picture | None:
        """Return the picture at `path`, or None when it is not there, is no picture, or there is no room for it.

        `plot`: it is a drawing whatever the run's samples are.
        """
        data = run_files.content(self.run, path)
        if data is None:
            return None
        try:
            packed, kind, size, ink = _pack(data, side, plot or self.drawings)
        except Exception:  # Pillow raises nearly anything for a damaged file
            return None
        if len(packed) > self.left or (path.suffix == ".gif" and len(packed) > LARGEST_FILM):
            self.omitted.append(path.relative_to(self.run).as_posix())
            return None
        self.left -= len(packed)
        return Picture(uri(f"image/{kind}", packed), *size, ink)


def _pack(data: bytes, side: int, drawing: bool = False) -> tuple[bytes, str, tuple[int, int], bool]:
    """(bytes, subtype, size in pixels, whether it is pure ink): as they are, or as a smaller WebP where that helps.

    Of drawings on paper, the paper is left out.
    """
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind, size, ink = str(image.format).lower(), image.size, False
        if getattr(image, "is_animated", False):
            cleared = paper.film_without_paper(data) if drawing else None
            return (data, kind, size, ink) if cleared is None else (cleared[0], "webp", size, cleared[1])
        bare = drawing and math.prod(size) <= paper.MOST and paper.on_paper(image)
        if len(data) <= LARGE and not bare:
            return data, kind, size, ink
        small, ink = paper.without_paper(image) if bare else (image.convert("RGB"), ink)
    if bare:
        data, kind = _save(small, "PNG", optimize=True), "png"
        if len(data) <= LARGE:
            return data, kind, size, ink
    small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    packed = _save(small, "WEBP", quality=85, method=4)
    return (packed, "webp", small.size, ink) if len(packed) < len(data) else (data, kind, size, ink)


def _save(image: PIL.Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
