"""Networks for waveforms: how far they see, what they are told, and DiffWave's arithmetic."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import nn

from modalities.audio.mel import default, log_mel, normalise
from modalities.audio.network.cells import Cells, gather, scatter
from modalities.audio.network.diffwave import DiffWave
from modalities.audio.network.power import POWERS, wiener
from modalities.audio.network.presets import PRESETS, build, reach
from modalities.audio.network.waveform import WaveUNet
from modalities.audio.options import Model
from tests.nn.common import randomise
from toolkit.diffusion.denoiser import edm
from toolkit.diffusion.schedule import RectifiedFlow
from toolkit.nn import ChannelNorm, Conv
from toolkit.nn.blocks import LineConv
from toolkit.nn.unet import Trunk


def span(net: nn.Module, length: int) -> int:
    """Return how many input samples change one output sample in the middle, by automatic differentiation."""
    x = torch.randn(8, 1, length, requires_grad=True, generator=torch.Generator().manual_seed(1))
    net(x, torch.zeros(8), {})[:, 0, length // 2].sum().backward()
    assert x.grad is not None
    moved = x.grad.abs().sum((0, 1)).nonzero()[:, 0]  # of several, as a rectifier may be shut for one
    return int(moved[-1] - moved[0]) + 1


@pytest.mark.parametrize(("layers", "cycle", "field"), [(30, 10, 6139), (36, 12, 24571), (20, 10, 4093), (16, 8, 1021)])
def test_the_receptive_field_of_diffwave_is_the_published_one(layers: int, cycle: int, field: int) -> None:
    assert DiffWave(1, 8, layers, cycle).receptive_field == field


def test_the_receptive_field_of_diffwave_is_measured() -> None:
    net = randomise(DiffWave(1, 4, layers=8, cycle=4))
    assert span(net, 256) == reach(net)[0] == 1 + 2 * 2 * (2**4 - 1)


def test_the_receptive_field_of_the_unet_is_measured() -> None:
    """Without attention and with norms that look at one position, what is printed is what is seen."""
    net = randomise(WaveUNet(1, [8, 8], (2,), blocks=(1, 2), hop=8, patch=(4, 4), attention=(), norm=ChannelNorm))
    field, everywhere = reach(net)
    seen = span(net, 4096)
    # strides make what is seen depend on where one looks: by less than a place of the coarsest level at each end
    assert not everywhere and abs(seen - field) < 2 * 64


def test_diffwave_multiplies_as_often_as_its_formula_says() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    width, layers, length = 16, 10, 512
    net = DiffWave(1, width, layers, 10)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, length), torch.zeros(1), {})
    per_sample = counter.get_total_flops() / 2 / length
    assert 8 * layers * width**2 < per_sample < 8 * layers * width**2 * 1.5  # and ends and embeddings


@pytest.mark.parametrize("rate", [8_000, 44_100])
@pytest.mark.parametrize(
    ("preset", "mels"), [("dilated", 0), *((preset, mels) for preset in [*PRESETS, "diffwave"] for mels in (0, 20))]
)
def test_every_parameter_is_used_and_every_condition_matters(preset: str, mels: int, rate: int) -> None:
    model = Model(preset=preset, width=8)  # type: ignore[arg-type]
    spec = default(rate, mels) if mels else None
    net = randomise(build(model, 2, 3, spec, rate=rate)).train()
    x, c_noise = torch.randn(2, 2, 512), torch.randn(2)
    cond = {"label": torch.tensor([0, 3]), "seconds": torch.tensor([0.3, 0.9])}
    if spec:
        cond["mel"] = torch.randn(2, mels, 512 // spec.hop)
    out = net(x, c_noise, cond)
    out.square().sum().backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None or float(p.grad.abs().sum()) == 0]
    # a bias before a group norm may be cancelled, and the last residual of DiffWave goes nowhere; nothing else
    assert [name for name in unused if not name.endswith("bias")] == []
    with torch.no_grad():
        for name, value in {"label": torch.tensor([1, 1]), "seconds": torch.tensor([0.9, 0.3])}.items():
            assert float((net(x, c_noise, {**cond, name: value}) - out).abs().max()) > 1e-4
        if spec:
            assert float((net(x, c_noise, {**cond, "mel": cond["mel"].roll(1, 0)}) - out).abs().max()) > 1e-4


def test_a_new_vocoder_expects_the_power_that_is_there() -> None:
    """Cells of noise are Gaussian, so power over its expectation is an exponential variable."""
    draw = torch.Generator().manual_seed(0)
    spec, place = default(16_000, 80), torch.linspace(0, 12, 32_768)
    raw = 0.1 * torch.randn(4, 1, 32_768, generator=draw) * (0.2 + place.sin().square())
    net = build(Model(), 1, 0, spec, std=0.1)
    assert isinstance(net, WaveUNet) and net.mel is not None
    with torch.no_grad():
        cells = net.cells(raw / 0.1)
        expected = net.mel.expected(normalise(log_mel(raw, spec)), cells.shape[2])
        ratio = (cells.square().sum(1, keepdim=True).log() - expected)[:, :, 4:-4, 4:-4]
    # of that variable's logarithm: -0.577 and pi / sqrt(6). Low bands are told the very cell, which leaves less spread;
    # and filters average magnitudes, which takes up to ln(pi / 4) from the expectation
    assert -0.577 < float(ratio.mean()) < -0.577 - math.log(math.pi / 4) + 0.05 and 0.8 < float(
        ratio.std()
    ) < math.pi / math.sqrt(6)


@pytest.mark.parametrize("preset", ["small", "dilated"])
def test_a_new_network_is_silent(preset: Literal["small", "dilated"]) -> None:
    with torch.no_grad():
        assert float(build(Model(preset=preset), 1, 0)(torch.randn(1, 1, 512), torch.zeros(1), {}).abs().max()) == 0


@torch.no_grad()
def test_a_convolution_along_the_first_of_two_dimensions_is_one_for_each_place_of_the_second() -> None:
    first, x = Conv("first", 6, 4, 3, dilation=2), torch.randn(2, 6, 40, 5)
    for place in range(5):
        wanted = nn.functional.conv1d(x[..., place], first.weight[..., 0], first.bias, padding=2, dilation=2)
        assert torch.allclose(first(x)[..., place], wanted, atol=1e-6)
    trunk = randomise(Trunk("first", [8, 16], 4, strides=[4], attention=(), norm=ChannelNorm))
    x, emb = torch.randn(2, 8, 32, 5), torch.randn(2, 4)
    alone = torch.cat([trunk(x[..., i : i + 1], emb) for i in range(5)], 3)
    assert torch.allclose(trunk(x, emb), alone, atol=1e-4)


@torch.no_grad()
def test_a_line_convolution_is_the_one_dimensional_one_in_either_layout() -> None:
    line = Conv(1, 6, 4, 3, dilation=2)
    assert isinstance(line, LineConv)
    x = torch.randn(2, 6, 40)
    wanted = nn.functional.conv1d(x, line.weight[:, :, 0], line.bias, padding=2, dilation=2)
    assert torch.allclose(line(x), wanted, atol=1e-6)
    line.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.allclose(line(x), wanted, atol=1e-6)


def test_channel_norm_makes_every_position_of_unit_power() -> None:
    x = torch.randn(2, 16, 8) * torch.logspace(0, 3, 8)
    assert torch.allclose(ChannelNorm(16)(x).square().mean(1), torch.ones(2, 8), atol=1e-4)


def test_a_network_knows_where_it_is_far_from_both_ends() -> None:
    net = randomise(WaveUNet(1, [8, 8], (2,), hop=8, attention=(), norm=ChannelNorm))
    field, _ = reach(net)
    with torch.no_grad():
        silent = net(torch.zeros(1, 1, 8192), torch.zeros(1), {})[0, 0]
    early, late = silent[field : field + 256], silent[-field - 256 : -field]
    assert 3 * field < 8192 and float((early - late).abs().max()) > 1e-3
    # a longer sound has the same beginning
    with torch.no_grad():
        longer = net(torch.zeros(1, 1, 16384), torch.zeros(1), {})[0, 0]
    assert torch.allclose(longer[: 8192 - field], silent[: 8192 - field], atol=1e-6)


@pytest.mark.parametrize(("hop", "length"), [(8, 8), (8, 24), (16, 256), (128, 512)])
def test_cells_keep_lengths_and_are_undone(hop: int, length: int) -> None:
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(length))
    cells = Cells(hop)(x)
    assert cells.shape == (2, 6, length // hop, hop)
    assert torch.allclose(cells.square().sum((1, 2, 3)), x.square().sum((1, 2)), rtol=1e-5)
    assert torch.allclose(Cells(hop).inverse(cells), x, atol=1e-5)
    assert float(Cells(hop)(torch.zeros_like(x)).abs().max()) == 0


def test_cells_are_the_transform_of_their_definition() -> None:
    """One frame far from the ends, summed by hand; and a tone is where its frequency is."""
    hop, t, k = 8, 3, 5
    x = torch.randn(1, 1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = t * hop - hop // 2
    wanted = [0.0, 0.0]
    for n in range(2 * hop):
        window = math.sin(math.pi * (n + 0.5) / (2 * hop))
        phase = math.pi / hop * (k + 0.5) * (n + 0.5 - hop)
        for part, wave in enumerate((math.cos(phase), math.sin(phase))):
            wanted[part] += float(x[0, 0, start + n]) * window * wave / math.sqrt(hop)
    assert torch.allclose(Cells(hop)(x.float())[0, :, t, k].double(), torch.tensor(wanted).double(), atol=1e-6)
    tone = torch.cos(math.pi / hop * (k + 0.5) * torch.arange(64.0))[None, None]
    assert Cells(hop)(tone).square().sum((0, 1, 2)).argmax() == k


@pytest.mark.parametrize("log_sigma", [-3.0, 0.0, 2.0])
def test_the_gain_is_the_posterior_mean_of_a_gaussian_of_that_power(log_sigma: float) -> None:
    schedule = RectifiedFlow()
    t = schedule.time(torch.tensor([-2 * log_sigma], dtype=torch.float64))
    alpha, sigma = (float(value) for value in schedule(t))
    c = edm(*schedule(t), 1.0)
    log_power = torch.tensor([[-9.0, -2.0, 0.0, 3.0]], dtype=torch.float64)
    gain = wiener(log_power, torch.tensor([log_sigma / 4], dtype=torch.float64))
    v = log_power.exp()
    wanted = alpha * v / (alpha**2 * v + sigma**2)
    assert torch.allclose(c.c_skip + c.c_out * gain / math.hypot(alpha, sigma), wanted, rtol=1e-6)
    assert float(gain[0, 2]) == 0  # of the power that the data have on average, EDM's own filter is right


@torch.no_grad()
def test_patches_are_gathered_and_scattered_without_loss() -> None:
    cells = torch.randn(1, 4, 6, 16)
    gathered = gather(cells, (2, 4))
    assert gathered.shape == (1, 4 * 8, 3, 4) and torch.equal(scatter(gathered, (2, 4)), cells)
    # channel (p, q, c) of place (i, j) is the cell of frame 2 i + p and band 4 j + q
    assert gathered[0, (1 * 4 + 3) * 4 + 2, 2, 1] == cells[0, 2, 2 * 2 + 1, 4 * 1 + 3]


@torch.no_grad()
@pytest.mark.parametrize("log_sigma", [-2.0, 0.0, 1.5])
def test_above_24_khz_places_of_the_treble_are_wider_and_every_cell_has_one(log_sigma: float) -> None:
    """Bands are filtered by the gain of their part when bass and treble are said to have one power each."""
    net = build(Model(), 1, 0, rate=44_100)
    assert isinstance(net, WaveUNet) and net.head_high is not None and net.cells.hop == 256
    for conv, patch, variance in ((net.head, net.patch, 4.0), (net.head_high, net.wide, 1e-3)):
        wanted = torch.cat([torch.full((1, 2, *patch), math.log(variance) / POWERS), torch.zeros(1, 2, *patch)], 1)
        conv.bias.copy_(gather(wanted, patch).flatten())
    x = torch.randn(1, 1, 8192, generator=torch.Generator().manual_seed(0))
    cells = net.cells(x)
    gains = torch.full((256,), float(wiener(torch.tensor([[math.log(4.0)]]), torch.tensor([log_sigma / 4]))))
    gains[80:] = float(wiener(torch.tensor([[math.log(1e-3)]]), torch.tensor([log_sigma / 4])))
    wanted = net.cells.inverse(cells * gains)
    assert torch.allclose(net(x, torch.tensor([log_sigma / 4]), {}), wanted, atol=1e-3)


def test_a_second_at_44_khz_costs_at_most_half_more_than_at_16() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    costs = {}
    for rate, length in ((16_000, 16_128), (44_100, 44_288)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            build(Model(), 1, 10, rate=rate)(torch.zeros(1, 1, length), torch.zeros(1), {})
        costs[rate] = counter.get_total_flops()
    assert 1.2 < costs[44_100] / costs[16_000] < 1.5


@torch.no_grad()
def test_any_multiple_of_the_hop_will_do_and_silence_after_a_sound_changes_nothing_far_from_it() -> None:
    net = randomise(WaveUNet(1, [8, 8], (2,), hop=8, attention=(), norm=ChannelNorm))
    field, _ = reach(net)
    x = torch.randn(1, 1, 3 * 1024 + 8, generator=torch.Generator().manual_seed(2))
    padded = nn.functional.pad(x, (0, 1024))
    short, long = (net(a, torch.zeros(1), {}) for a in (x, padded))
    assert short.shape == x.shape
    assert torch.allclose(short[..., :-field], long[..., : x.shape[-1] - field], atol=1e-5)
    with pytest.raises(ValueError, match="multiple of 8"):
        net(x[..., :-1], torch.zeros(1), {})


@pytest.mark.parametrize(("preset", "millions"), [("tiny", 1.4), ("small", 3.0), ("base", 18.6)])
def test_presets_have_the_sizes_they_are_documented_with(preset: str, millions: float) -> None:
    net = build(Model(preset=preset), 1, 10)  # type: ignore[arg-type]
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == millions
