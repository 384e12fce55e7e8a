"""Pre-emphasis: a first-order difference that evens out a falling spectrum, and its exact inverse."""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.imports import require


def emphasise(raw: Tensor, a: float) -> Tensor:
    """Return y[n] = x[n] - a x[n - 1] along the last axis, x[-1] = 0, in the shape of `raw`; 0 <= a < 1."""
    if a == 0:
        return raw
    y = raw.clone()
    y[..., 1:] -= a * raw[..., :-1]
    return y


def undo(y: Tensor, a: float) -> Tensor:
    """Return x[n] = y[n] + a x[n - 1] in the shape of `y`, float32."""
    if a == 0:
        return y
    functional = require("torchaudio.functional")
    # in float64: an error at low frequencies is amplified by up to 1 / (1 - a)
    filtered: Tensor = functional.lfilter(
        y.double(), torch.tensor([1.0, -a], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64), False
    )
    return filtered.float()
