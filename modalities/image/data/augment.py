"""Random variations of a batch of pictures, each example on its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modalities.image.options import Data
from toolkit.diffusion.randomness import Draws

_DRAWS = 6  # scale, left, top, right shift, down shift, flip


def augment(raw: Tensor, options: Data, draws: Draws) -> Tensor:
    """Crop and enlarge, then shift, then flip at random; gaps are filled by repeating the edge.

    raw: (B, C, H, W) uint8; so is the result. The same six numbers are drawn for an example whatever is
    switched on and whatever is beside it, so options can be compared like with like.
    """
    if not (options.crop or options.shift or options.flip):
        return raw
    u = draws.uniform("augment", _DRAWS).to(raw.device)
    if options.crop:
        raw = _crop(raw, options.crop * u[:, 0], u[:, 1:3])
    if options.shift or options.flip:
        reach = 2 * options.shift + 1
        move = (u[:, 3:5] * reach).long().clamp(max=reach - 1) - options.shift
        raw = _move(raw, move, (u[:, 5] < 0.5) & options.flip)
    return raw


def note(options: Data) -> str:
    """Return one line that describes `augment`; empty when it does nothing."""
    parts = [
        f"crops of up to {options.crop:.0%} of the side" if options.crop else "",
        f"shifts of up to {options.shift} px" if options.shift else "",
        "flips" if options.flip else "",
    ]
    return ", ".join(part for part in parts if part)


def _crop(raw: Tensor, margin: Tensor, place: Tensor) -> Tensor:
    """Cut a part of 1 - margin of each side and enlarge it (bilinear); colours weigh by their alpha, if they have one.

    margin: (B,) in [0, 0.5], as a share of the side; place: (B, 2) in [0, 1), 0 = left or top, 1 = right or bottom.
    """
    theta = torch.zeros(len(raw), 2, 3, device=raw.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 - margin
    theta[:, :, 2] = margin[:, None] * (2 * place - 1)  # centre of the cut, where the picture spans -1 to 1
    grid = functional.affine_grid(theta, list(raw.shape), align_corners=False)

    def sampled(x: Tensor) -> Tensor:
        return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    x = raw.float()
    if raw.shape[1] in (2, 4):
        alpha = sampled(x[:, -1:])
        colour = sampled(x[:, :-1] * x[:, -1:]) / alpha.clamp(min=1e-3)
        out = torch.cat([torch.where(alpha < 0.5, sampled(x[:, :-1]), colour), alpha], 1)
    else:
        out = sampled(x)
    return out.round().clamp(0, 255).to(torch.uint8)


def _move(raw: Tensor, move: Tensor, mirror: Tensor) -> Tensor:
    """Move each picture by move: (B, 2) pixels to the right and down, then mirror those in mirror: (B,) bool."""
    height, width = raw.shape[-2:]
    across = torch.arange(width, device=raw.device).expand(len(raw), width)
    across = torch.where(mirror[:, None], width - 1 - across, across)
    columns = (across - move[:, :1]).clamp(0, width - 1)
    rows = (torch.arange(height, device=raw.device) - move[:, 1:]).clamp(0, height - 1)
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    return raw.flatten(2).gather(2, index[:, None].expand(-1, raw.shape[1], -1)).view_as(raw)
