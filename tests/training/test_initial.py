"""First weights are functions of (seed, name), in the laws that the modules chose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from modalities.audio.network.diffwave import DiffWave
from modalities.audio.network.dilated import DilatedUNet
from modalities.audio.network.waveform import WaveUNet
from toolkit.nn import Transformer, UNet
from toolkit.nn.blocks import Conv, zero
from toolkit.training.initial import initialise

NETWORKS = {
    "unet": lambda: UNet(2, 1, [16, 32], labels=3),
    "wave": lambda: WaveUNet(1, [16, 32], [2], labels=2),
    "dilated": lambda: DilatedUNet(1, [16, 32], [2], labels=2),
    "diffwave": lambda: DiffWave(1, 16, 4),
    "transformer": lambda: Transformer(8, 5, 32, 2, 2, labels=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_depend_on_seed_and_name_only(name: str) -> None:
    first = dict(initialise(NETWORKS[name], 0).named_parameters())
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    again = dict(initialise(NETWORKS[name], 0).named_parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    other = dict(initialise(NETWORKS[name], 1).named_parameters())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = dict(NETWORKS[name]().named_parameters())
    for key, value in first.items():
        assert torch.equal(value, again[key])
        constant = plain[key].numel() == 1 or float(plain[key].detach().std()) == 0
        if constant or torch.equal(plain[key], value):  # zeros, ones, or written to by a view of it
            assert torch.equal(value, plain[key]) and torch.equal(value, other[key])
        else:
            assert not torch.equal(value, other[key])
            n = value.numel()
            ratio = float(value.detach().square().mean() / plain[key].detach().square().mean())
            # of two uniform or normal samples: five deviations
            assert abs(math.log(ratio)) < 5 * math.sqrt(4 / n) + 1e-6


class Net(nn.Module):
    def __init__(self, more: bool) -> None:
        super().__init__()
        if more:
            self.extra = nn.Linear(5, 5)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tail = zero(Conv(2, 3, 3))
        self.bias = nn.Parameter(torch.empty(6))
        nn.init.uniform_(self.bias)
        with torch.no_grad():
            self.bias.reshape(2, 3)[1] = 7.0
            self.a.weight.mul_(3.0)


def test_a_further_layer_leaves_the_others_as_they_were() -> None:
    few, many = (dict(initialise(lambda more=more: Net(more), 0).named_parameters()) for more in (False, True))
    for key in ("a.weight", "a.bias", "b.weight", "b.bias"):
        assert torch.equal(few[key], many[key])
    assert not torch.equal(few["a.bias"], few["b.bias"])
    assert not torch.equal(few["a.weight"], 3 * few["b.weight"])
    # what followed the filling is done again, and what was written by a view is not undone
    assert (
        1.5 < float(few["a.weight"].detach().abs().max()) * 2 <= 3.0
        and float(few["b.weight"].detach().abs().max()) <= 0.5
    )
    assert few["bias"][3:].tolist() == [7.0] * 3
    assert not few["tail.weight"].any()
