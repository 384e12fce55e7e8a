"""Blocks and networks: what they compute, in one, two and three dimensions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modalities.image.network.ddpm import DDPMUNet
from modalities.image.network.presets import PRESETS, build
from modalities.image.options import Model
from tests.nn.common import randomise
from toolkit.nn import Attention, Conv, Downsample, FourierEmbedding, ResBlock, UNet, Upsample


@torch.no_grad()
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_block_and_a_network_start_as_nothing(dims: int) -> None:
    x, c_noise = torch.randn(2, 8, *[8] * dims), torch.zeros(2)
    assert torch.equal(ResBlock(dims, 8, 8, 16)(x, torch.randn(2, 16)), x)
    assert torch.equal(Attention(dims, 8)(x), x)
    assert float(UNet(dims, 8, [8, 16], stem=2)(x, c_noise, {}).abs().max()) == 0
    assert float(DDPMUNet(dims, 8, 8)(x, c_noise, {}).abs().max()) == 0


@torch.no_grad()
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 4), (4, 2, 1), (8, 4, 1), (1, 1, 1), (5, 1, 2)]
)
def test_convolutions_divide_the_size_by_the_stride(kernel: int, stride: int, dilation: int) -> None:
    x = torch.zeros(1, 1, 64)
    x[..., 32:] = 1
    conv = Conv(1, 1, 1, kernel, stride, dilation)
    nn.init.constant_(conv.weight, 1 / kernel)  # type: ignore[arg-type]
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    y = conv(x)
    assert y.shape == (1, 1, 64 // stride)
    # the step stays in the middle: no shift by padding
    reach = (dilation * (kernel - 1)) // stride + 1
    assert float(y[..., reach : 32 // stride - reach].abs().sum()) == 0
    assert torch.allclose(y[..., 32 // stride + reach : -reach], torch.ones(1))


@torch.no_grad()
def test_a_one_dimensional_network_is_the_two_dimensional_one_on_a_line() -> None:
    line, plane = (randomise(UNet(dims, 1, [8], blocks=1, attention=(), labels=3)) for dims in (1, 2))
    weights = line.state_dict()
    for name, value in plane.state_dict().items():
        if value.ndim == 4:  # the same kernel along one axis, nothing along the other
            wide = torch.zeros_like(value)
            wide[:, :, (value.shape[2] - 1) // 2] = weights[name][:, :, 0]
            weights[name] = wide
    plane.load_state_dict(weights)
    x, c_noise, label = torch.randn(2, 1, 16), torch.tensor([0.3, -0.2]), {"label": torch.tensor([0, 3])}
    wanted = line(x, c_noise, label)
    found = plane(x[:, :, None].expand(-1, -1, 4, -1), c_noise, label)
    assert float((found - wanted[:, :, None]).abs().max()) < 1e-5 < float(wanted.std())


@torch.no_grad()
def test_labels_and_noise_levels_matter_and_no_label_is_the_null_label() -> None:
    net = randomise(build(Model(preset="tiny"), (1, 28, 28), 10))
    x = torch.randn(2, 1, 28, 28)
    c_noise = torch.tensor([0.1, 0.1])
    none = net(x, c_noise, {})
    assert torch.equal(none, net(x, c_noise, {"label": torch.tensor([10, 10])}))
    assert float((none - net(x, c_noise, {"label": torch.tensor([3, 3])})).abs().max()) > 1e-3
    assert float((none - net(x, c_noise + 0.5, {})).abs().max()) > 1e-3


@pytest.mark.parametrize("preset", [*PRESETS, "ddpm"])
def test_every_parameter_of_a_preset_is_used(preset: str) -> None:
    model = Model(preset=preset, width=16)  # type: ignore[arg-type]
    net = randomise(build(model, (3, 32, 32), 5)).train()
    net(torch.randn(2, 3, 32, 32), torch.randn(2), {"label": torch.tensor([0, 5])}).square().sum().backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None or float(p.grad.abs().sum()) == 0]
    # a bias before a group norm of whole groups may be cancelled; nothing else
    assert [name for name in unused if not name.endswith("bias")] == []


def test_presets_have_the_sizes_they_are_documented_with() -> None:
    def millions(model: Model, channels: int) -> float:
        return sum(p.numel() for p in build(model, (channels, 32, 32), 10).parameters()) / 1e6

    assert [round(millions(Model(preset=name), 1), 1) for name in ("tiny", "small", "base")] == [0.5, 1.6, 12.0]  # type: ignore[arg-type]
    # 35.7 M in Ho et al. (2020), appendix B, plus what FiLM and the labels add
    assert 35.7 < millions(Model(preset="ddpm"), 3) < 39


@torch.no_grad()
@pytest.mark.parametrize("size", [(30, 30), (28, 44), (9, 50), (8, 8)])
@pytest.mark.parametrize("preset", [*PRESETS, "ddpm"])
def test_sides_of_any_length_are_padded_inside_and_cut_again(preset: str, size: tuple[int, int]) -> None:
    net = randomise(build(Model(preset=preset, width=16), (3, *size), 0))  # type: ignore[arg-type]
    x, c_noise = torch.randn(2, 3, *size), torch.tensor([0.2, -1.0])
    wide = [-(-side // net.divisor) * net.divisor for side in size]
    by_hand = torch.zeros(2, 3, *wide)
    top, left = (wide[0] - size[0]) // 2, (wide[1] - size[1]) // 2
    by_hand[:, :, top : top + size[0], left : left + size[1]] = x
    wanted = net(by_hand, c_noise, {})[:, :, top : top + size[0], left : left + size[1]]
    assert torch.equal(net(x, c_noise, {}), wanted) and wanted.shape == x.shape


def test_nothing_is_added_where_all_sides_divide() -> None:
    net = randomise(UNet(2, 1, [8, 16], stem=2))
    x = torch.randn(1, 1, 8, 12)
    same, place = net.padded(x)
    assert same is x and place == (slice(0, 8), slice(0, 12))
    torch.testing.assert_close(
        net.padded(torch.ones(1, 1, 7, 12))[0].sum((0, 1, 3)), 12 * torch.tensor([1.0] * 7 + [0])
    )


def test_what_is_added_has_no_part_in_the_loss() -> None:
    net = randomise(UNet(1, 1, [8, 8], stem=2, attention=()))
    x = torch.randn(1, 1, 6, requires_grad=True)  # padded to 8
    out = net(x, torch.zeros(1), {})
    out.square().mean().backward()
    assert out.shape == (1, 1, 6) and x.grad is not None and bool((x.grad != 0).all())
    wide, place = net.padded(x.detach())
    wide.requires_grad_()
    net(wide, torch.zeros(1), {})[(..., *place)].square().mean().backward()
    assert wide.grad is not None and torch.equal(wide.grad[(..., *place)], x.grad)


def test_fourier_features_tell_noise_levels_apart() -> None:
    c_noise = torch.linspace(-2.5, 2.5, 101)
    features = FourierEmbedding(64)(c_noise)
    gaps = torch.cdist(features, features) + torch.eye(101) * 99
    assert float(gaps.min()) > 0.5
    assert torch.allclose(features.square().sum(1), torch.full((101,), 32.0))


def test_down_and_up_keep_a_constant() -> None:
    x = torch.ones(1, 2, 16)
    for layer in (Downsample(1, 2, 2, 4), Upsample(1, 2, 2, 4)):
        nn.init.constant_(layer.conv.weight, 1 / layer.conv.weight[0].numel())  # type: ignore[arg-type, union-attr, operator]
        nn.init.zeros_(layer.conv.bias)  # type: ignore[arg-type]
        y = layer(x)
        assert torch.allclose(y[..., 1:-1], torch.ones(1))


@torch.no_grad()
@pytest.mark.parametrize("dims", [1, 2])
def test_a_kernel_of_one_commutes_with_nearest_neighbours(dims: int) -> None:
    layer, x = Upsample(dims, 6, 4, 2, kernel=1), torch.randn(2, 6, *[5] * dims)
    each = layer.conv(x.repeat_interleave(2, -1) if dims == 1 else x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    torch.testing.assert_close(layer(x), each)
