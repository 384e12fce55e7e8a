"""A sound file as its decoder should see it: ranges of the file, and bytes that replace a header that lies."""

from __future__ import annotations

import io
import mmap
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO, NamedTuple

from toolkit.errors import ToolkitError

Content = bytes | mmap.mmap
"""All bytes of a file."""
Part = bytes | range
"""Bytes as they are, or those of the file from range.start to range.stop - 1."""


class Unreadable(ToolkitError):
    """Reason why one sound cannot be used."""


class Piece(NamedTuple):
    """One stream of samples; most files are one."""

    parts: tuple[Part, ...] = ()
    """Bytes for the decoder; () = the file as it is."""
    frames: int | None = None
    """Frames that the container states truthfully; None where only decoding tells."""
    surplus: int = 0
    """Most frames beyond `frames` that the codec adds to fill its last block, and that are cut off."""


class Container(NamedTuple):
    """Format and samples of a file, by its content."""

    kind: str
    """WAV, AIFF, CAF, AU, FLAC, OGG or MP3."""
    pieces: tuple[Piece, ...]
    mended: tuple[str, ...] = ()
    """Faults of the container that do not keep its sound from being read: one line each."""


class PartReader(io.RawIOBase):
    """The parts one after the other, read-only; memory does not grow with them."""

    def __init__(self, file: BinaryIO, parts: Sequence[Part]) -> None:
        self._file, self._parts = file, parts
        self._ends = list(accumulate(len(part) for part in parts))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        filled = 0
        while filled < len(view) and self._at < self._ends[-1]:
            i = bisect_right(self._ends, self._at)
            part = self._parts[i]
            inside = self._at - (self._ends[i] - len(part))
            count = min(len(part) - inside, len(view) - filled)
            if isinstance(part, bytes):
                content = part[inside : inside + count]
            else:
                self._file.seek(part.start + inside)
                content = self._file.read(count)
                if not content:  # the file became shorter while it was read
                    break
            view[filled : filled + len(content)] = content
            filled += len(content)
            self._at += len(content)
        return filled


def patch(whole: range, patches: Sequence[tuple[int, bytes]]) -> tuple[Part, ...]:
    """Return the range of a file with bytes replaced at places in it, (place, bytes) in their order."""
    parts: list[Part] = []
    at = whole.start
    for place, content in patches:
        parts += [range(at, place), content]
        at = place + len(content)
    return tuple(part for part in (*parts, range(at, whole.stop)) if len(part))


def seconds(frames: float, rate: int) -> str:
    """Return "0.40 s" of frames."""
    return f"{frames / max(rate, 1):,.2f} s"
