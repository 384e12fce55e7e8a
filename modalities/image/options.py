"""The [data] and [model] sections of an image recipe, and the options of `toolkit evaluate`."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from toolkit.evaluation.evaluator import ClassifierOptions
from toolkit.recipe.options import Options

SMALLEST, LARGEST = 8, 1024
"""Sides in pixels that `size` can have."""


class Data(Options):
    """Source, labels, size, values, channels and augmentation of the pictures."""

    source: str = Field(default="digits", min_length=1)
    """digits, mnist, fashion-mnist or cifar10; else a folder of pictures, a folder of .tar shards or one .tar
    file, as a path or below TOOLKIT_DATA. A folder that is called like a data set is written ./digits."""
    labels: str = Field(default="auto", min_length=1)
    """Source of labels: auto (a metadata file where there is one, else folders), folders, folders:2 (those of
    the second level), parent (the folder that a file lies in), metadata, none, or a pattern for file names such as
    "{label}_{}"."""
    splits: Literal["auto", "none"] = "auto"
    """auto: folders called train, test, val ... are the splits; none: they are folders like others."""
    size: int | str | None = None
    """Side of square pictures in pixels, 32, or width x height, "64x48"; each side from 8 to 1024. Default: the
    pictures' own size when all have one of at most 64 px a side; else 32, which trains in minutes on a CPU."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """Way to fit a picture of another shape: crop (cut about its centre), pad (kept whole, with borders of the
    background) or stretch."""
    channels: Literal["auto", 1, 2, 3, 4] = "auto"
    """1 = grey, 2 = grey and transparency, 3 = RGB, 4 = RGB and transparency, auto = RGB as soon as one picture has
    colour, else grey."""
    background: Literal["white", "black"] = "white"
    """Colour behind transparent pictures when transparency is not learned; also of the borders of fit = "pad"."""
    levels: str = "auto"
    """Values of pictures of more than 8 bits that become black and white, "0:4095". auto: 8, 10, 12, 14 or 16 bits,
    whichever hold the largest value of all such files; fractions: 0 to 1, -1 to 1, 0 to 255 or 0 to 65535."""
    frames: Literal["first", "all"] = "first"
    """Pictures of an animation or a stack of pages that are read."""
    limit: int | None = Field(default=None, ge=1)
    """Largest number of training pictures, and of test pictures."""
    flip: bool = False
    """Mirror left and right, with probability 1/2."""
    crop: float = Field(default=0.0, ge=0.0, le=0.5)
    """Cut a random part whose sides are 1 - crop to 1 of the picture's, and enlarge it to full size."""
    shift: int = Field(default=0, ge=0, le=64)
    """Largest random shift along each axis, in pixels; the edge is repeated."""

    @field_validator("size", mode="before")
    @classmethod
    def _a_size(cls, size: Any) -> Any:
        """Return 32 for 32, "32" and "32x32", "64x48" for others, None for None. Raises ValueError."""
        if size is None:
            return None
        form = re.fullmatch(r"(\d{1,5})(?:\s*x\s*(\d{1,5}))?", str(size).strip().lower())
        if form is None or isinstance(size, bool):
            raise ValueError(f'must be a side in pixels, 32, or width x height, "64x48"; not {size!r:.40}')
        width, height = int(form[1]), int(form[2] or form[1])
        if not all(SMALLEST <= side <= LARGEST for side in (width, height)):
            raise ValueError(f"each side must be from {SMALLEST} to {LARGEST} pixels, not {size}")
        return size_text(width, height)

    @field_validator("levels")
    @classmethod
    def _two_levels(cls, levels: str) -> str:
        if levels != "auto" and two_numbers(levels) is None:
            raise ValueError(f'must be auto or two numbers, the first below the second, as in "0:4095"; not {levels!r}')
        return levels

    @property
    def sides(self) -> tuple[int, int] | None:
        """Width and height that were asked for."""
        if self.size is None:
            return None
        width, _, height = str(self.size).partition("x")
        return int(width), int(height or width)

    @property
    def range(self) -> tuple[float, float] | None:
        """The values that were asked to be black and white."""
        return two_numbers(self.levels)


def size_text(width: int, height: int) -> int | str:
    """Return a size as it is typed: 32, or "64x48"."""
    return width if width == height else f"{width}x{height}"


def two_numbers(text: str) -> tuple[float, float] | None:
    """Return "0:4095" as two finite numbers, the first below the second; None for anything else."""
    number = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,2})?)"
    form = re.fullmatch(rf"\s*{number}\s*:\s*{number}\s*", text.lower())
    if form is None or not float(form[1]) < float(form[2]):
        return None
    return float(form[1]), float(form[2])


class Model(Options):
    """Network and its size."""

    preset: Literal["tiny", "small", "base", "ddpm"] = "small"
    """Size of the network; ddpm: the one of Ho et al. (2020), which works at full resolution."""
    width: int | None = Field(default=None, ge=8, le=384, multiple_of=8)
    """Channels of the first level, in place of the preset's."""
    stem: int | None = Field(default=None, ge=1, le=8)
    """Stride of the first convolution, in place of the preset's; 1 works at full resolution."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of features that are left out at random in training."""


class EvaluationOptions(ClassifierOptions):
    """Options of `toolkit evaluate`."""

    features: str = ""
    """FILE.safetensors:MODEL, a torchvision model in place of the judge."""
