"""Conversion between pixels 0..255 and model space."""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.data.dataset import Facts


def encode(raw: Tensor, facts: Facts) -> Tensor:
    """Return pixels 0..255 as (raw / 127.5 - 1 - mean) / std: float32, mean 0 and variance 1 over the training set."""
    return (raw.float() / 127.5 - (1 + facts.mean)) / facts.std


def decode(x: Tensor, facts: Facts) -> Tensor:
    """Return the inverse of `encode`, rounded to the nearest of 0..255, uint8."""
    return ((x.float() * facts.std + (1 + facts.mean)) * 127.5).round().clamp(0, 255).to(torch.uint8)
