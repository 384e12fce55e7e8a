"""The [data] and [model] sections of an image recipe, and the options of `toolkit evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from toolkit.evaluation.evaluator import ClassifierOptions
from toolkit.recipe.options import Options


class Data(Options):
    """Source, size, channels and augmentation of the pictures."""

    source: str = Field(default="digits", min_length=1)
    """digits, mnist, fashion-mnist or cifar10; else a folder of pictures, a folder of .tar shards or one .tar
    file, as a path or below TOOLKIT_DATA. A folder that is called like a data set is written ./digits."""
    size: int | None = Field(default=None, ge=8, le=1024, multiple_of=4)
    """Side of the square pictures in pixels: the shorter side is resized to it, the longer one cropped about its
    centre. Default: the data's own, when all pictures are equal squares of at most 64 px that this field
    would accept; else 32, which trains in minutes on a CPU."""
    channels: Literal["auto", 1, 3] = "auto"
    """1 = grey, 3 = RGB, auto = RGB as soon as one picture has colour."""
    limit: int | None = Field(default=None, ge=1)
    """Largest number of training pictures, and of test pictures."""
    flip: bool = False
    """Mirror left and right, with probability 1/2."""
    crop: float = Field(default=0.0, ge=0.0, le=0.5)
    """Cut a random square whose side is 1 - crop to 1 of the picture's, and enlarge it to full size."""
    shift: int = Field(default=0, ge=0, le=64)
    """Largest random shift along each axis, in pixels; the edge is repeated."""


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
