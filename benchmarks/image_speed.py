"""Training and sampling speed beside another library's UNet2DModel of equal parameter count, in one run.

    pip install -e '.[compare]'
    python benchmarks/image_speed.py [--rounds 5] [--batch 128] [--size 28]

Both sides train class-conditionally on the same pictures with AdamW; ours as `toolkit train` sets it up on this
machine, theirs as it comes (float32, DDPMScheduler). The two take turns, so a drifting machine slows both; medians
and their ratio are what to quote. Run it alone: another job on the two cores can halve either.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from modalities.image.network.presets import build
from modalities.image.options import Model
from toolkit.diffusion import (
    GRIDS,
    DPMSolver3M,
    NoiseStream,
    RectifiedFlow,
    RegressionDenoiser,
    classifier_free,
    sample,
)
from toolkit.training.loop import Config, fit, start
from toolkit.training.precision import autocast, resolve


def parameters(net: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(p.numel() for p in net.parameters())


def ours(batch: int, size: int, channels_last: bool) -> tuple[Callable[[], None], int, RegressionDenoiser]:
    """One training step of ours, the parameter count, the denoiser."""
    denoiser = RegressionDenoiser(build(Model(), (1, size, size), 10), RectifiedFlow(), "flow")
    config = Config(steps=10**6, batch=batch, dtype=resolve("auto", "cpu"), channels_last=channels_last)
    pictures, labels = data(1024, size)

    def source(step: int, positions: object) -> tuple[Tensor, dict[str, Tensor]]:
        at = (step * batch + torch.arange(batch)) % 1024
        return pictures[at], {"label": labels[at]}

    steps = fit(source, config, start(denoiser, config))
    return lambda: (next(steps), None)[1], parameters(denoiser.net), denoiser


def theirs(batch: int, size: int, target: int) -> tuple[Callable[[], None], int, nn.Module]:
    """One training step of UNet2DModel, with widths chosen so that it has about `target` parameters."""
    from diffusers import DDPMScheduler, UNet2DModel

    def make(width: int) -> nn.Module:
        net: nn.Module = UNet2DModel(
            sample_size=size,
            in_channels=1,
            out_channels=1,
            layers_per_block=2,
            block_out_channels=(width, 2 * width),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            num_class_embeds=11,
            norm_num_groups=8,
        )
        return net

    net = make(min(range(16, 129, 8), key=lambda w: abs(parameters(make(w)) - target)))
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    pictures, labels = data(1024, size)
    place = 0

    def step() -> None:
        nonlocal place
        at = (place * batch + torch.arange(batch)) % 1024
        place += 1
        x, noise, t = pictures[at], torch.randn(batch, 1, size, size), torch.randint(0, 1000, (batch,))
        guess = net(scheduler.add_noise(x, noise, t), t, class_labels=labels[at], return_dict=False)[0]
        nn.functional.mse_loss(guess, noise).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step, parameters(net), net


def our_sampling(denoiser: RegressionDenoiser, n: int, size: int) -> Callable[[], None]:
    """n samples as `toolkit sample` makes them by default: guided DPM-Solver++(3M), 20 steps."""
    labels = torch.arange(n) % 10
    denoise = classifier_free(denoiser, {"label": labels}, {"label": torch.full_like(labels, 10)}, 1.5)
    times = GRIDS["log-snr"](denoiser.schedule, 20)

    def run() -> None:
        noise = NoiseStream(0, "sample", range(n), (1, size, size))
        with torch.inference_mode(), autocast("cpu", resolve("auto", "cpu")):
            sample(denoise, denoiser.schedule, DPMSolver3M(), noise(), times)

    return run


def their_sampling(net: nn.Module, n: int, size: int) -> Callable[[], None]:
    """n samples by their DDIM scheduler in 50 steps, unguided."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(50)
    labels = torch.arange(n) % 10

    def run() -> None:
        x = torch.randn(n, 1, size, size)
        with torch.inference_mode():
            for t in scheduler.timesteps:
                x = scheduler.step(net(x, t, class_labels=labels, return_dict=False)[0], t, x).prev_sample

    return run


def data(n: int, size: int) -> tuple[Tensor, Tensor]:
    """Stand-ins for pictures: speed does not depend on what they show."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(n, 1, size, size, generator=draw), torch.randint(0, 10, (n,), generator=draw)


def timed(step: Callable[[], None]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--batch", type=int, default=128)
    ask.add_argument("--size", type=int, default=28)
    chosen = ask.parse_args()
    layouts = {"ours, channels first": False, "ours, channels last": True}
    steps: dict[str, Callable[[], None]] = {}
    count = 0
    for name, layout in layouts.items():
        steps[name], count, denoiser = ours(chosen.batch, chosen.size, layout)
    steps["diffusers UNet2DModel"], other, net = theirs(chosen.batch, chosen.size, count)
    print(f"parameters: ours {count:,}, theirs {other:,}; {torch.get_num_threads()} threads, torch {torch.__version__}")
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(chosen.rounds):
        for name, step in steps.items():
            seconds[name].append(timed(step))
    base = median(seconds["diffusers UNet2DModel"])
    print("training | images/s (median, worst to best) | times theirs")
    for name, all_seconds in seconds.items():
        low, mid, high = (chosen.batch / f(all_seconds) for f in (max, median, min))
        print(f"{name} | {mid:.0f} ({low:.0f} to {high:.0f}) | {base / median(all_seconds):.1f}")
    ways = {
        "ours, 20 guided steps (40 calls of the network each)": our_sampling(denoiser.eval(), 64, chosen.size),
        "diffusers, DDIM, 50 steps (50 calls each)": their_sampling(net.eval(), 64, chosen.size),
    }
    print("sampling 64 | seconds (median of 3)")
    for name, way in ways.items():
        print(f"{name} | {median(timed(way) for _ in range(3)):.2f}")


if __name__ == "__main__":
    main()
