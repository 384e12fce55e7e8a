"""Named data sets: the bundled digits, and torchvision's small sets below TOOLKIT_DATA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from modalities.image.data import block, decode, geometry, pinned
from modalities.image.data.cache import Corpus, moments
from modalities.image.options import Data
from toolkit import paths
from toolkit.console import printable
from toolkit.data import download
from toolkit.data.dataset import identity_of
from toolkit.errors import DataError

DIGITS_TRAIN = 9_000
_DIGITS = tuple("0123456789")
_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}

Part = tuple[np.ndarray, np.ndarray]
NAMES = ("digits", *_CLASSES)


def load(options: Data, notify: Callable[[str], None]) -> Corpus:
    """Return the data set options.source, in memory. Raises DataError when it is neither on disk nor downloadable."""
    if options.source == "digits":
        parts, names = _digits(), _DIGITS
    else:
        parts, names = _torchvision(options.source, notify)
    parts = [(pixels[: options.limit], labels[: options.limit]) for pixels, labels in parts]
    whole = np.concatenate([pixels for pixels, _ in parts])
    pixels = _fit(whole, options)
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    test = np.arange(len(pixels)) >= len(parts[0][0])
    understood = block.of_named(pixels, test, labels, names, f"{whole.shape[3]} x {whole.shape[2]}")
    identity = identity_of(names, pixels, labels, test)
    if options.labels == "none":
        labels, names = np.zeros_like(labels), ()
    return Corpus(pixels, labels, test, names, (), *moments(pixels, test), identity, understood)


def _digits() -> list[Part]:
    """Return training and test part: pixels (N, 1, 28, 28) uint8 and labels (N,). Raises DataError."""
    path = paths.shipped_folder("assets") / "digits.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            pixels, labels = file["images"][:, None], file["labels"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); reinstall diffusion-toolkit") from None
    return [(pixels[:DIGITS_TRAIN], labels[:DIGITS_TRAIN]), (pixels[DIGITS_TRAIN:], labels[DIGITS_TRAIN:])]


def _torchvision(name: str, notify: Callable[[str], None]) -> tuple[list[Part], tuple[str, ...]]:
    """Return parts as `_digits` does, and the names of the labels. Raises DataError."""
    from torchvision import datasets  # slow to import, and only needed here

    root, make = paths.data_root(), getattr(datasets, _CLASSES[name])
    folder = root / pinned.SETS[name].folder
    try:
        if not (had := folder.exists()):
            notify(f"downloading {name} to {root}")
            pinned.fetch(name, root, notify)
        sets = [make(root, train=train, download=False) for train in (True, False)]
    except download.Refused as error:
        raise DataError(
            f"{name} is not in {folder} and could not be downloaded ({printable(str(error))[:300]}); "
            "put its files there, or set TOOLKIT_DATA to a folder that has it"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError) as error:  # RuntimeError: torchvision's for what is missing
        raise DataError(
            f"{folder} is damaged or not whole ({decode.reason(error)}); delete it to download it again"
        ) from None
    if had and not pinned.is_known(name, root):
        notify(f"{folder} is not the {name} that would be downloaded; figures of recipes may not come out with it")
    names = _DIGITS if name == "mnist" else tuple(sets[0].classes)
    return [(_channels_first(part.data), np.asarray(part.targets)) for part in sets], names


def _channels_first(data: Any) -> np.ndarray:
    """Return pixels (N, H, W) or (N, H, W, C) as (N, C, H, W)."""
    array = np.asarray(data)
    return array[:, None] if array.ndim == 3 else np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _fit(pixels: np.ndarray, options: Data) -> np.ndarray:
    """Return pixels (N, C, H, W) uint8 with the channels and the size of `options`, where these are set."""
    channels = pixels.shape[1] if options.channels == "auto" else options.channels
    if channels in (1, 2) and pixels.shape[1] == 3:
        pixels = np.concatenate([decode.to_grey(pixels[i : i + 4096]) for i in range(0, len(pixels), 4096)])
    elif channels in (3, 4) and pixels.shape[1] == 1:
        pixels = np.repeat(pixels, 3, axis=1)
    own = (pixels.shape[3], pixels.shape[2])
    if options.sides not in (None, own):
        pixels = np.concatenate([_resize(pixels[i : i + 4096], own, options) for i in range(0, len(pixels), 4096)])
    if channels in (2, 4):  # nothing in these data sets is transparent
        alpha = np.full_like(pixels[:, :1], 255)
        pixels = np.concatenate([pixels, alpha], axis=1)
    return pixels


def _resize(pixels: np.ndarray, own: geometry.Size, options: Data) -> np.ndarray:
    """Return pixels (N, C, H, W) uint8 at the size of `options`."""
    assert options.sides is not None
    (across, down), level = options.sides, 255 if options.background == "white" else 0
    box, (width, height) = geometry.place(own, options.sides, options.fit)
    left, top, right, bottom = (round(edge) for edge in box)
    part = torch.from_numpy(np.ascontiguousarray(pixels[:, :, top:bottom, left:right])).float()
    part = functional.interpolate(part, (height, width), mode="bicubic", antialias=True)
    whole = np.full((*pixels.shape[:2], down, across), level, dtype=np.uint8)
    top, left = (down - height) // 2, (across - width) // 2
    whole[:, :, top : top + height, left : left + width] = part.round().clamp(0, 255).to(torch.uint8).numpy()
    return whole
