"""Pictures of a run as data URIs, made smaller where they are large, within a budget for the whole page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import PIL.Image

from toolkit.report import run_files
from toolkit.report.html import Markup, tag

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

    def tag(self, alt: str) -> Markup:
        """The element that shows it."""
        return tag("img", src=self.uri, width=self.width, height=self.height, alt=alt)


@dataclass
class Album:
    """Takes pictures of a run until the budget is used up."""

    run: Path
    left: int = BUDGET
    omitted: list[str] = field(default_factory=list)
    """Names of pictures that did not fit."""

    def take(self, path: Path, side: int = SIDE) -> Picture | None:
        """The picture at `path`, or None when it is not there, is no picture, or there is no room for it."""
        data = run_files.content(self.run, path)
        if data is None:
            return None
        try:
            packed, kind, size = _packed(data, side)
        except Exception:  # Pillow raises nearly anything for a damaged file
            return None
        if len(packed) > self.left or (kind == "gif" and len(packed) > LARGEST_FILM):
            self.omitted.append(path.relative_to(self.run).as_posix())
            return None
        self.left -= len(packed)
        return Picture(f"data:image/{kind};base64,{base64.b64encode(packed).decode('ascii')}", *size)


def _packed(data: bytes, side: int) -> tuple[bytes, str, tuple[int, int]]:
    """(bytes, subtype, size in pixels): as they are, or as a smaller WebP where that helps."""
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind, size = str(image.format).lower(), image.size
        if len(data) <= LARGE or getattr(image, "is_animated", False):
            return data, kind, size
        small = image.convert("RGB")
        small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=85, method=4)
    if buffer.tell() < len(data):
        return buffer.getvalue(), "webp", small.size
    return data, kind, size
