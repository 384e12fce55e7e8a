"""Training and sampling speed for sounds, in one run.

    python benchmarks/audio_speed.py [--rounds 5] [--batch 8] [--only training sampling length] [--picture PATH]

training   preset small against DiffWave of as many parameters, on clips of 16,128 samples at 16 kHz (a second) and of
           8,192 at 8 kHz. Both train as `toolkit train` sets them up here, in the memory layout that is faster for
           each, and take turns, so a drifting machine slows both; medians and their ratio are what to quote.
sampling   preset small, one-second clips at 16 kHz in batches of 16 with 20 steps: as `toolkit sample` makes them by
           the drums recipe, and without guidance.
length     one call of preset small against the clip's length at 16 kHz, with a straight line through the medians.

Run it alone: another job on the two cores can halve any of them.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from modalities.audio.modality import Audio
from modalities.audio.network import presets
from modalities.audio.network.diffwave import DiffWave
from modalities.audio.options import Model
from toolkit import recipe as recipes
from toolkit.diffusion import RectifiedFlow, RegressionDenoiser
from toolkit.modality import Facts
from toolkit.recipe import build
from toolkit.run.generator import Generator
from toolkit.training.loop import Config, fit, start
from toolkit.training.precision import autocast, resolve

LABELS = 10
CLIPS = {"16 kHz, 16,128 samples": 16_128, "8 kHz, 8,192 samples": 8_192}
SECONDS = (0.5, 1, 2, 4, 8)
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "audio-length.png"
_CLOSE = 0.05


def parameters(net: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(p.numel() for p in net.parameters())


def diffwave(target: int) -> DiffWave:
    """DiffWave as its preset has it, with the width, and if need be the layers, that give about `target` parameters."""
    for layers in sorted(range(20, 41), key=lambda n: abs(n - 30)):
        nets = [DiffWave(1, width, layers, labels=LABELS, numbers=presets.NUMBERS) for width in range(32, 129, 8)]
        best = min(nets, key=lambda net: abs(parameters(net) - target))
        if abs(parameters(best) / target - 1) <= _CLOSE:
            return best
    raise SystemExit(f"no DiffWave has {target:,} parameters to within {_CLOSE:.0%}")


def trainer(net: nn.Module, batch: int, length: int, channels_last: bool) -> Callable[[], None]:
    """One training step on stand-ins for clips: speed does not depend on what they sound like."""
    denoiser = RegressionDenoiser(net, RectifiedFlow(), "edm")
    config = Config(steps=10**6, batch=batch, dtype=resolve("auto", "cpu"), channels_last=channels_last)
    x = torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(0))
    cond = {"label": torch.arange(batch) % LABELS, "seconds": torch.ones(batch), "mask": torch.ones(batch, 1, length)}

    def source(step: int, positions: object) -> tuple[Tensor, dict[str, Tensor]]:
        return x, cond

    steps = fit(source, config, start(denoiser, config))
    return lambda: (next(steps), None)[1]


def fastest(make: Callable[[], nn.Module], batch: int, length: int) -> tuple[Callable[[], None], str]:
    """A training step in the faster of the two layouts, warmed up, and that layout."""
    ways = {}
    for channels_last in (False, True):
        step = trainer(make(), batch, length, channels_last)
        step()
        ways[timed(step), channels_last] = step
    (_, chosen), step = min(ways.items(), key=lambda way: way[0])
    return step, "channels last" if chosen else "channels first"


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each of `rounds` calls of every way."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    return seconds


def timed(way: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def training(batch: int, rounds: int) -> None:
    """Clips a second of both networks."""
    small_net = functools.partial(presets.build, Model(preset="small"), 1, LABELS)
    small = parameters(small_net())
    other = diffwave(small)
    shape = f"{len(other.dilations)} layers of {other.first.out_channels} channels"
    print(
        f"parameters: small {small:,}; DiffWave, {shape}, {parameters(other):,} ({parameters(other) / small - 1:+.1%})"
    )
    print(f"training, batch {batch} | clips/s (median, worst to best) | times DiffWave")
    for name, length in CLIPS.items():
        ways, layouts = {}, {}
        ways["small"], layouts["small"] = fastest(small_net, batch, length)
        ways["DiffWave"], layouts["DiffWave"] = fastest(lambda: diffwave(small), batch, length)
        seconds = take_turns(ways, rounds)
        base = median(seconds["DiffWave"])
        for way, spent in seconds.items():
            low, mid, high = (batch / f(spent) for f in (max, median, min))
            ratio = f"{base / median(spent):.1f}"
            print(f"{way}, {name}, {layouts[way]} | {mid:.2f} ({low:.2f} to {high:.2f}) | {ratio}", flush=True)


def untrained(length: int, rate: int) -> Generator:
    """Return what `toolkit sample` would load, but for the weights: the drums recipe at this length and rate."""
    recipe = recipes.load("audio/drums")
    labels = tuple(str(i) for i in range(LABELS))
    facts = Facts(shape=(1, length), labels=labels, std=0.1, count=1, extra={"rate": rate, "channels": 1, "test": 0})
    modality = Audio(*recipes.validate_for(recipe, Audio), facts)  # type: ignore[arg-type]
    return Generator(recipe, modality, build.denoiser(recipe, modality), torch.device("cpu"))


def sampling(rounds: int, n: int = 16, steps: int = 20) -> None:
    """Seconds of sound for each second of computing."""
    rate, length = 16_000, CLIPS["16 kHz, 16,128 samples"]
    made = untrained(length, rate)
    guidance = made.recipe.sample.guidance

    def sampler(w: float) -> Callable[[], object]:
        return lambda: made.sample(n, steps=steps, guidance=w, batch=n, seconds=1.0).raw

    ways = {f"guidance {guidance}, the default": sampler(guidance), "without guidance": sampler(1.0)}
    for way in ways.values():
        way()
    print(f"sampling {n} clips of 1 s at 16 kHz, {steps} steps | seconds (median, best to worst) | times real time")
    for name, spent in take_turns(ways, rounds).items():
        mid = median(spent)
        print(f"{name} | {mid:.2f} ({min(spent):.2f} to {max(spent):.2f}) | {n / mid:.2f}", flush=True)


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Least squares: slope, intercept and R^2 of y on x."""
    a, b = torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    slope = ((a - a.mean()) * (b - b.mean())).sum() / (a - a.mean()).square().sum()
    start = b.mean() - slope * a.mean()
    lost = (b - start - slope * a).square().sum() / (b - b.mean()).square().sum()
    return float(slope), float(start), float(1 - lost)


def length(rounds: int, picture: Path, batch: int = 4) -> None:
    """Milliseconds of a call for one clip, against its length."""
    made = untrained(CLIPS["16 kHz, 16,128 samples"], 16_000)
    net, dtype = made.denoiser.net.eval(), resolve("auto", "cpu")

    def call(seconds: float) -> Callable[[], object]:
        frames = round(seconds * 16_000 / 256) * 256
        x = torch.randn(batch, 1, frames, generator=torch.Generator().manual_seed(0))
        cond = {"label": torch.arange(batch), "seconds": torch.ones(batch)}

        def run() -> Tensor:
            with torch.inference_mode(), autocast("cpu", dtype):
                output: Tensor = net(x, torch.zeros(batch), cond)
            return output

        return run

    ways = {f"{seconds:g}": call(seconds) for seconds in SECONDS}
    for way in ways.values():
        way()
    spent = take_turns(ways, rounds)
    x = [float(name) for name in spent]
    y = [1000 * median(values) / batch for values in spent.values()]
    slope, start, r2 = line(x, y)
    print(f"length of a clip, s | one call, ms a clip (median of {rounds}) | ms for each second of sound")
    for seconds, ms in zip(x, y):
        print(f"{seconds:g} | {ms:.1f} | {ms / seconds:.1f}")
    print(f"straight line: {slope:.1f} ms for each second, {start:+.1f} ms; R^2 = {r2:.4f}", flush=True)
    draw(x, y, (slope, start, r2), picture)


def draw(x: Sequence[float], y: Sequence[float], fitted: tuple[float, float, float], path: Path) -> None:
    """The measured points and their line, as a PNG."""
    from matplotlib.figure import Figure

    slope, start, r2 = fitted
    figure = Figure(figsize=(5, 3.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [0, max(x)], [start, start + slope * max(x)], color="0.6", label=f"{slope:.0f} ms a second, R² = {r2:.4f}"
    )
    axes.plot(x, y, "o", color="#b5541c", label="preset small, one call")
    axes.set(xlabel="length of the clip at 16 kHz, s", ylabel="ms a clip", xlim=0, ylim=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    print(f"drawn: {path}")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("training", "sampling", "length")
    ask.add_argument("--only", nargs="*", choices=parts, default=parts)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--batch", type=int, default=8, help="clips of a training step")
    ask.add_argument("--picture", type=Path, default=PICTURE)
    chosen = ask.parse_args()
    number = resolve("auto", "cpu")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {number or 'float32'}")
    if "training" in chosen.only:
        training(chosen.batch, chosen.rounds)
    if "sampling" in chosen.only:
        sampling(chosen.rounds)
    if "length" in chosen.only:
        length(chosen.rounds, chosen.picture)


if __name__ == "__main__":
    main()
