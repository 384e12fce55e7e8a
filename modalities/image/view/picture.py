"""Grids of pictures, and strips from noise to picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor

GAP = 2
READABLE = 64
"""Side in pixels up to which pictures are enlarged by a whole factor."""
_BACKGROUND = 72
_INK = 232
_CAPTION_LETTERS = 14


def grid(
    raw: Tensor, labels: Sequence[str] = (), columns: int | None = None, order: Sequence[str] = ()
) -> PIL.Image.Image:
    """Return the pictures raw: (B, C, H, W) uint8 side by side, grey or RGB as they are, transparency on squares.

    labels: one for each picture, or none. Pictures with equal labels share rows, which are captioned with the label;
    when most labels occur once, there are no captions and the order is kept. order: of the labels, from top to
    bottom; by default as they first occur.
    """
    if raw.ndim != 4 or len(raw) == 0:
        raise ValueError(f"a grid needs pictures (B, C, H, W), not {tuple(raw.shape)}")
    if labels and len(labels) != len(raw):
        raise ValueError(f"{len(labels)} labels for {len(raw)} pictures")
    square = math.ceil(math.sqrt(len(raw)))
    names = [name for name in dict.fromkeys([*order, *labels]) if name in set(labels)]
    if not names or 2 * len(names) > len(raw):
        return _table(raw, _wrap(list(range(len(raw))), columns or square), [])
    groups = [[i for i, label in enumerate(labels) if label == name] for name in names]
    most, usual = max(map(len, groups)), max(square, 8)
    columns = columns or math.ceil(most / max(1, round(most / usual)))  # rows of like length, and no picture alone
    rows: list[list[int]] = []
    captions: list[str] = []
    for name, group in zip(names, groups, strict=True):
        wrapped = _wrap(group, columns)
        rows += wrapped
        captions += [name] + [""] * (len(wrapped) - 1)
    return _table(raw, rows, captions)


def strip(raw_sequence: Tensor, columns: int = 10) -> PIL.Image.Image:
    """Return a row for each sample of raw_sequence (T, B, C, H, W) uint8, from noise to picture.

    Of T steps `columns` are shown, evenly spaced, the first and the last always.
    """
    if raw_sequence.ndim != 5 or 0 in raw_sequence.shape[:2]:
        raise ValueError(f"a strip needs pictures (T, B, C, H, W), not {tuple(raw_sequence.shape)}")
    steps = len(raw_sequence)
    indices = torch.linspace(0, steps - 1, min(columns, steps)).round().long()
    pictures = raw_sequence[indices].transpose(0, 1).flatten(0, 1)
    return _table(pictures, _wrap(list(range(len(pictures))), len(indices)), [])


def to_image(raw: Tensor) -> PIL.Image.Image:
    """Return (C, H, W) uint8 as a picture: C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""
    array = raw.cpu().numpy()
    return PIL.Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def lay(raw: Tensor, ground: Tensor | float) -> Tensor:
    """Return (..., C, H, W) uint8 without alpha: C = 2 and 4 are laid on `ground` (0..255), others are as they are."""
    if raw.shape[-3] not in (2, 4):
        return raw
    alpha = raw[..., -1:, :, :].float() / 255
    return (raw[..., :-1, :, :].float() * alpha + ground * (1 - alpha)).round().to(torch.uint8)


def _squares(height: int, width: int) -> Tensor:
    """Return a light checkerboard (height, width) of about eight squares along the shorter side."""
    side = max(1, min(height, width) // 8)
    odd = (torch.arange(height)[:, None] // side + torch.arange(width) // side) % 2
    return torch.where(odd.bool(), 255.0, 216.0)


def _wrap(items: list[int], columns: int) -> list[list[int]]:
    return [items[i : i + columns] for i in range(0, len(items), columns)]


def _table(raw: Tensor, rows: list[list[int]], captions: list[str]) -> PIL.Image.Image:
    """Return the pictures `rows` of `raw` on a grey ground, enlarged, with captions at the left."""
    raw = lay(raw.cpu(), _squares(*raw.shape[-2:]))
    channels, height, width = raw.shape[1:]
    factor = max(1, READABLE // max(height, width))
    cell_height, cell_width = factor * height + GAP, factor * width + GAP
    texts = [_fitting(caption) for caption in captions]
    font = ImageFont.load_default()
    margin = math.ceil(max((font.getlength(text) for text in texts), default=-8)) + 8
    shape = (channels, len(rows) * cell_height + GAP, margin + max(map(len, rows)) * cell_width + GAP)
    canvas = torch.full(shape, _BACKGROUND, dtype=torch.uint8)
    large = raw.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    for i, row in enumerate(rows):
        for j, number in enumerate(row):
            top, left = GAP + i * cell_height, margin + GAP + j * cell_width
            canvas[:, top : top + factor * height, left : left + factor * width] = large[number]
    image = to_image(canvas)
    draw = ImageDraw.Draw(image)
    for i, text in enumerate(texts):
        middle = GAP + i * cell_height + factor * height // 2
        draw.text((4, middle - 6), text, fill=_INK if channels == 1 else (_INK,) * 3, font=font)
    return image


def _fitting(caption: str) -> str:
    """Return the caption cut to the margin, in characters that every build of the default font has."""
    text = caption.encode("latin-1", "replace").decode("latin-1")
    return text if len(text) <= _CAPTION_LETTERS else text[: _CAPTION_LETTERS - 2] + ".."
