"""The treatment of each file on its way into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from modalities.audio.options import Data

HELD = 1 << 20
"""Largest number of samples of one file in memory."""


class Treatment(NamedTuple):
    """The options that change the samples of a file, as `options.Data` has them, without what that imports."""

    rate: int
    """In Hz."""
    channels: int
    loudness: str
    level: float | None
    trim: float
    silence: float
    dc: bool
    held: int
    """A file of more samples goes through a scratch file."""

    @classmethod
    def of(cls, options: Data, rate: int) -> Treatment:
        o = options
        return cls(rate, o.channels, o.loudness, o.level, o.trim, o.silence, o.dc, HELD)
