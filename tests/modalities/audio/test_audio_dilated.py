"""The dilated UNet over waveforms: its learned bands, its gains, and how far it sees."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from modalities.audio.network.bands import Bands
from modalities.audio.network.cells import Cells, gather
from modalities.audio.network.dilated import DilatedUNet
from modalities.audio.network.power import POWERS
from modalities.audio.network.presets import build, reach
from modalities.audio.options import Model
from tests.nn.common import randomise
from toolkit.nn import ChannelNorm


def learned(hop: int, overlap: int) -> Bands:
    """Return bands that were turned far from where they begin."""
    bands = Bands(hop, overlap)
    assert bands.turn is not None
    nn.init.normal_(bands.turn, std=3.0, generator=torch.Generator().manual_seed(1))
    return bands


@torch.no_grad()
@pytest.mark.parametrize(("hop", "overlap"), [(128, 2), (64, 2), (64, 4), (32, 8), (8, 4)])
@pytest.mark.parametrize("make", [Bands, learned])
def test_bands_are_inverted_everywhere_whatever_is_learned(make: Callable[..., Bands], hop: int, overlap: int) -> None:
    x = torch.randn(2, 2, 20 * hop, generator=torch.Generator().manual_seed(0))
    bands = make(hop, overlap)
    assert torch.allclose(bands.inverse(bands(x)), x, atol=1e-5)


@torch.no_grad()
def test_new_bands_are_those_of_the_windowed_transform_and_learned_ones_are_not() -> None:
    x = torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(0))
    cells = Cells(128)(x[..., 64:-64])[:, :, 1:-1]  # whose frames begin half a hop earlier; its ends are weighted
    assert torch.allclose(Bands(128)(x)[:, :, 2:-2][:, :, : cells.shape[2]], cells, atol=1e-4)
    assert not torch.allclose(learned(128, 2)(x)[:, :, 2:-2][:, :, : cells.shape[2]], cells, atol=0.1)


@torch.no_grad()
def test_white_noise_has_the_power_of_a_sample_in_bands() -> None:
    x = torch.randn(1, 1, 1 << 18, generator=torch.Generator().manual_seed(2))
    power = Bands(64)(x).unflatten(1, (-1, 2)).square().sum((0, 1, 2)).mean(0)
    assert torch.allclose(power, torch.ones(64), atol=0.1)  # of 4,096 frames, two deviations are 0.04
    turned = learned(64, 2)(x).unflatten(1, (-1, 2)).square().sum(2).mean()
    assert abs(float(turned) - 1) < 0.01


def scattered_powers(patch: tuple[int, int], value: float) -> torch.Tensor:
    """Return a head's bias that gives every band of a place this power, and adds nothing."""
    wanted = torch.cat([torch.full((1, 2, *patch), value), torch.zeros(1, 2, *patch)], 1)
    return gather(wanted, patch).flatten()


@torch.no_grad()
@pytest.mark.parametrize("variance", [1e-3, 1.0, 9.0])
@pytest.mark.parametrize("log_sigma", [-2.0, 0.0, 1.5])
def test_expected_powers_filter_as_wiener_says(variance: float, log_sigma: float) -> None:
    """The output is one gain times the input when every band is said to have one variance."""
    net = DilatedUNet(1, [16, 24], (2,))
    net.head.bias.copy_(scattered_powers(net.patch, math.log(variance) / POWERS))
    x = torch.randn(2, 1, 2048, generator=torch.Generator().manual_seed(0))
    r = math.exp(-log_sigma)
    wanted = r * (variance - 1) / (1 + r * r * variance)
    assert torch.allclose(net(x, torch.full((2,), log_sigma / 4), {}), wanted * x, atol=1e-4 * max(1, abs(wanted)))


def test_the_receptive_field_is_measured() -> None:
    net = randomise(
        DilatedUNet(1, [8, 8], (2,), (1, 2), hop=8, patch=(2, 4), dilations=(1, 2, 4), attention=(), norm=ChannelNorm)
    )
    field, everywhere = reach(net)
    x = torch.randn(8, 1, 4096, requires_grad=True, generator=torch.Generator().manual_seed(1))
    net(x, torch.zeros(8), {})[:, 0, 2048].sum().backward()
    assert x.grad is not None and not everywhere
    moved = x.grad.abs().sum((0, 1)).nonzero()[:, 0]
    # strides make what is seen depend on where one looks: by less than a place of the coarsest level at each end
    assert abs(int(moved[-1] - moved[0]) + 1 - field) < 2 * 2 * 2 * 8


@pytest.mark.parametrize("length", [8_192, 16_128])
def test_convolutions_see_more_than_a_clip(length: int) -> None:
    assert reach(build(Model(preset="dilated"), 1, 0))[0] > length


def test_it_is_no_vocoder() -> None:
    asked = ["train", "--modality", "audio", "--preset", "dilated", "--condition", "mel"]
    done = subprocess.run([sys.executable, "-m", "toolkit", *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "preset dilated is no vocoder; take tiny, small, base or diffwave" in " ".join(done.stderr.split())
