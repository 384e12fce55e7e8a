"""Compare networks for sounds after equal steps: error at four noise levels, and processor time.

    python benchmarks/audio_networks.py [--data drums] [--rate 44100] [--steps 400] [--levels -1 2] [--only NAME]

Each of `VARIANTS` is a preset, or a preset with one thing changed. All are trained as recipe drums has it. The error is
the training loss of the averaged weights at log(sigma) = -3, -1, 0 and 1, or `--levels`, on training clips without
augmentation and on held-out ones: 1 is what a network has that knows nothing, lower is better. Seconds are processor
time of a step.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

import toolkit
from modalities.audio.codec import rate_of
from modalities.audio.modality import Audio
from modalities.audio.network import dilated, presets
from modalities.audio.network.cells import Cells, gather, scatter
from modalities.audio.network.dilated import DilatedUNet
from modalities.audio.network.power import features, gain
from modalities.audio.network.waveform import WaveUNet
from modalities.audio.options import Model
from toolkit import paths
from toolkit.diffusion.denoiser import Denoiser, edm
from toolkit.diffusion.randomness import Draws, seeded_generator
from toolkit.diffusion.schedule import expand
from toolkit.modality import Dataset, Modality
from toolkit.nn.blocks import ChannelNorm, Conv, zero
from toolkit.run.generator import Generator
from toolkit.training.precision import autocast

LEVELS = [-3.0, -1.0, 0.0, 1.0]
"""log(sigma), noise over data."""
CLIPS, DRAWS, AT_ONCE = 96, 4, 16
RESOLUTIONS = (128, 512, 2048)


class Variant(NamedTuple):
    """Network, settings of the recipe, and what is patched meanwhile."""

    network: Callable[[Modality], nn.Module]
    settings: Mapping[str, Any] = {}
    patches: tuple[tuple[object, str, object], ...] = ()
    loss: Callable[..., Tensor] | None = None


def preset(name: str) -> Callable[[Modality], nn.Module]:
    """Return a function that builds a preset."""
    return lambda modality: presets.build(
        Model(preset=name),  # type: ignore[arg-type]
        modality.shape[0],
        len(modality.labels),
        rate=rate_of(modality.facts),
    )


def changed(**options: Any) -> Callable[[Modality], DilatedUNet]:
    """Return a function that builds preset `dilated` with other arguments."""
    usual = presets.DILATED
    given = {"widths": usual.widths(None), "strides": usual.strides, "blocks": usual.blocks} | options
    return lambda modality: DilatedUNet(
        modality.shape[0], labels=len(modality.labels), numbers=presets.NUMBERS, **given
    )


class LongerFrames(WaveUNet):
    """WaveUNet that also sees cells of frames `ratio` times as long, and adds a filter of its own for these."""

    def __init__(self, *args: Any, ratio: int, **options: Any) -> None:
        super().__init__(*args, **options)
        channels, width = args[0], args[1][0]
        self.ratio, self.long = ratio, Cells(self.cells.hop * ratio)
        self.long_patch = (self.patch[0] // ratio, self.patch[1] * ratio)
        parts = channels * math.prod(self.long_patch)
        self.stem_long = Conv(2, 5 * parts, width, 1)
        self.head_long = zero(Conv(2, width, 2 * parts, 3))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        length = x.shape[-1]
        cells, long = self.cells(x), self.long(functional.pad(x, (0, -length % self.long.hop)))
        frames, long_frames = cells.shape[2], long.shape[2]
        cells = functional.pad(cells, (0, 0, 0, -frames % self.whole))
        long = functional.pad(long, (0, 0, 0, cells.shape[2] // self.ratio - long_frames))
        h = self._places(features(cells, c_noise)) + self.stem_long(gather(features(long, c_noise), self.long_patch))
        local = self.position(cells.shape[2] * self.cells.hop, h)
        h = functional.silu(self.norm(self.trunk(h, self.embed(c_noise, cond), local, cond.get("dropout"))))
        power, new = self._outputs(h).chunk(2, dim=1)
        short = self.cells.inverse((gain(power, c_noise) * cells + new)[:, :, :frames])
        gains = gain(scatter(self.head_long(h).float(), self.long_patch), c_noise)
        return (short + self.long.inverse((gains * long)[:, :, :long_frames])[..., :length]).to(x)


def longer(ratio: int) -> Callable[[Modality], WaveUNet]:
    """Return a function that builds preset `small` with longer frames beside the usual ones."""
    usual = presets.PRESETS["small"]
    return lambda modality: LongerFrames(
        modality.shape[0], usual.widths(None), usual.strides, usual.blocks, labels=len(modality.labels),
        numbers=presets.NUMBERS, ratio=ratio,
    )  # fmt: skip


def bare(cells: Tensor, c_noise: Tensor) -> Tensor:
    """Return the network's inputs without phases and powers."""
    nothing = torch.zeros_like(cells)
    return torch.cat([cells, nothing, nothing[:, ::2]], 1)


def snake(x: Tensor, inplace: bool = False) -> Tensor:
    """Return x + sin(x)^2 (Ziyin et al. 2020)."""
    return x + torch.sin(x).square()


def spectral(denoiser: Denoiser, x: Tensor, t: Tensor, eps: Tensor, cond: dict[str, Tensor]) -> Tensor:
    """Return the loss plus 0.1 times the distance of log magnitudes at three resolutions, by the data's share."""
    schedule = denoiser.schedule
    alpha, sigma = (value.reshape(-1, 1, 1) for value in schedule(t))
    c = denoiser.coefficients(t)
    x_t = alpha * x + sigma * eps
    output = denoiser.network(x_t, t, cond)
    target = c.of_x.reshape(-1, 1, 1) * x + c.of_eps.reshape(-1, 1, 1) * eps
    mask = cond["mask"]
    plain = ((output - target).square() * mask).sum((1, 2)) / mask.sum((1, 2))
    x_hat = c.c_skip.reshape(-1, 1, 1) * x_t + c.c_out.reshape(-1, 1, 1) * output
    return plain + 0.1 * (alpha / (alpha + sigma)).flatten() * distance(x_hat * mask, x)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean distance of log magnitudes of two batches of sounds, (B,)."""
    total = torch.zeros(len(a))
    for size in RESOLUTIONS:
        window = torch.hann_window(size)
        one, other = (
            torch.stft(z.float().flatten(0, 1), size, size // 4, window=window, return_complex=True).abs()
            for z in (a, b)
        )
        total = total + ((one + 1e-2).log() - (other + 1e-2).log()).abs().mean((1, 2))
    return total / len(RESOLUTIONS)


def free(power: Tensor, c_noise: Tensor) -> Tensor:
    """Return gains that are numbers of the network's own."""
    return power


VARIANTS = {
    "small": Variant(preset("small")),
    "small, hop 128 and no treble": Variant(
        lambda modality: presets.build(Model(), modality.shape[0], len(modality.labels))
    ),
    "small, frames 4 times as long too": Variant(longer(4)),
    "small, frames twice as long too": Variant(longer(2)),
    "dilated": Variant(changed()),
    "gains are free numbers": Variant(changed(), patches=((dilated, "gain", free),)),
    "no phases and powers": Variant(changed(), patches=((dilated, "features", bare),)),
    "transform is not learned": Variant(changed(learned=False)),
    "hop 64, overlap 4": Variant(changed(hop=64, overlap=4, patch=(8, 4))),
    "hop 64": Variant(changed(hop=64, patch=(8, 2))),
    "all bands in one group": Variant(changed(patch=(1, 128), widths=(256, 384), strides=(2,), blocks=(1, 2))),
    "no dilation": Variant(changed(dilations=(1,))),
    "no attention": Variant(changed(attention=())),
    "norm of each place": Variant(changed(norm=ChannelNorm)),
    "snake": Variant(changed(), patches=((functional, "silu", snake),)),
    "flow-prediction, free gains": Variant(changed(), {"diffusion.prediction": "flow"}, ((dilated, "gain", free),)),
    "pre-emphasis 0.9": Variant(changed(), {"data.emphasis": 0.9}),
    "spectral loss": Variant(changed(), loss=spectral),
    "wider": Variant(changed(widths=(72, 144, 216))),
}


@contextlib.contextmanager
def patched(patches: tuple[tuple[object, str, object], ...]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for holder, name, value in patches:
            stack.enter_context(mock.patch.object(holder, name, value))
        yield


@torch.no_grad()
def errors(run: Generator, real: Modality, data: Dataset, levels: list[float]) -> list[float]:
    """Return the share of the error that is left at each log(sigma)."""
    rows = torch.linspace(0, len(data) - 1, min(CLIPS, len(data))).round().long()
    totals, schedule = torch.zeros(len(levels)), run.denoiser.schedule
    draw = seeded_generator(0, "levels")
    for part in rows.split(AT_ONCE):
        clips = real.conditioning().batch(data.take(part), Draws(0, part.tolist(), ("levels",)))
        x = real.encode(clips.raw)
        for i, log_sigma in enumerate(levels * DRAWS):
            t = schedule.time(torch.full((len(x),), -2.0 * log_sigma, dtype=torch.float64))
            alpha, sigma = (expand(value, x) for value in schedule(t))
            x_t = alpha * x + sigma * torch.randn(x.shape, generator=draw)
            with autocast("cpu", run.dtype):
                x_hat = run.denoiser(x_t, t, clips.cond)
            mask = clips.cond["mask"]
            lost = ((x - x_hat).square() * mask).sum((1, 2)) / mask.sum((1, 2))
            totals[i % len(levels)] += (lost / edm(*schedule(t), 1.0).c_out.to(lost) ** 2).sum() / DRAWS
    return (totals / len(rows)).tolist()


def measured(name: str, ask: argparse.Namespace, folder: Path) -> None:
    """Train a variant and print its row."""
    variant = VARIANTS[name]
    settings = {
        "data.source": ask.data,
        "data.rate": ask.rate,
        "train.previews": 0,
        "sample.steps": 1,
        "sample.guidance": 1.0,
    }
    further = {"loss": variant.loss} if variant.loss else {}
    with patched(variant.patches):
        began = time.process_time()
        run = toolkit.train(
            "audio/drums", out=folder / name.replace(" ", "-"), threads=ask.threads, steps=ask.steps, batch=ask.batch,
            seed=ask.seed, settings=settings | dict(variant.settings), network=variant.network, progress=False,
            **further,
        )  # fmt: skip
        spent = time.process_time() - began
        real = run.fresh_modality()
        assert isinstance(real, Audio)
        real.data = real.data.model_copy(update={"gain": 0.0, "speed": 0.0, "polarity": False})
        real.open(paths.cache(), lambda line: None)
        shares = [
            errors(run, real, data, ask.levels) for data in (real.dataset("train"), real.dataset("test")) if len(data)
        ]
    size = sum(p.numel() for p in run.denoiser.parameters()) / 1e6
    figures = " | ".join(" ".join(f"{share:.3f}" for share in row) for row in shares)
    print(f"{name} | {size:.1f} | {spent / ask.steps:.3f} | {figures}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="drums")
    parser.add_argument("--rate", type=int)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    ask = parser.parse_args()
    named = " ".join(f"{level:g}" for level in ask.levels)
    print(f"network | M parameters | s a step | error at log(sigma) = {named}, training clips | held-out clips")
    with tempfile.TemporaryDirectory() as folder:
        for name in ask.only:
            measured(name, ask, Path(folder))


if __name__ == "__main__":
    main()
