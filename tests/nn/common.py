"""Helper that tests of networks share."""

from __future__ import annotations

import torch
from torch import nn


def randomise(net: nn.Module) -> nn.Module:
    """Every parameter, the zero-initialised ones too, so that every path carries something."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return net.eval()
