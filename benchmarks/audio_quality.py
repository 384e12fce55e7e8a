"""Measure the samples of an audio run: agreement, distances and copies, beside what real clips and noise score.

    python benchmarks/audio_quality.py runs/spoken-digits [--n 1000] [--steps 20] [--guidance 1 2] [--seed 1] ...

A judge (a small CNN on log-mel spectrograms) is trained on the run's own training clips. Agreement: the share of
samples in which it sees the asked label. Frechet and kernel distance: between its 64 features of the samples and of
held-out clips, or, when fewer than 128 are held out, of random halves of all real clips, at as many samples. The floor
is the same for other real clips at equal n, the ceiling for white noise as loud and as long as real clips.

Copies: a sample is one of a training clip when its waveform is that clip's up to gain, sign and shift (normalised
cross-correlation above 0.9), or when its mel spectrogram is nearer to the clip's than half the usual distance between
a training clip and its nearest other one. Real data hold look-alikes too, so held-out clips, and training clips
against all others, are counted beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import toolkit
from modalities.audio.evaluate.judge import FEATURES, SoundJudge, copy_features, fit_length
from modalities.audio.mel import default
from modalities.audio.modality import Audio
from toolkit import paths, recipe
from toolkit.diffusion.randomness import seeded_generator as draws
from toolkit.discovery import find
from toolkit.evaluation.agreement import agreement, parts, share
from toolkit.evaluation.judge import cross_validate, obtain
from toolkit.evaluation.metrics import nearest
from toolkit.evaluation.metrics.frechet import frechet
from toolkit.evaluation.metrics.interval import bootstrap, half_samples
from toolkit.evaluation.metrics.kernel import kernel_distance
from toolkit.modality import Dataset, Examples, Splits

FEW = 2 * FEATURES
"""Held-out clips below which a covariance of the features means nothing."""
MAX_REAL = 5_000
"""Real clips that are compared with, spread evenly."""
ALONE = 500
"""Training clips whose nearest others are looked for."""
HALVINGS = 10
SHIFT = 0.06
"""Seconds between a copy and its original, for mel spectrograms; waveforms may be anywhere."""
SAME_WAVE = 0.9
CANDIDATES = 16
"""Clips nearest by mel spectrogram that waveforms are compared with."""


class Distances:
    """Frechet and kernel distance of features to real ones at one n: to held-out clips, or to halves of few clips."""

    def __init__(self, train: Tensor, test: Tensor, n: int) -> None:
        if len(test) >= FEW:
            self.n = min(n, len(train))
            self.pairs = [(test, train[torch.randperm(len(train), generator=draws(0, "floor"))[: self.n]])]
            self.note = f"{len(test):,} held-out clips; floor: {self.n:,} training clips"
        else:
            real = torch.cat([train, test])
            orders = [torch.randperm(len(real), generator=draws(0, "half", i)) for i in range(HALVINGS)]
            half = len(real) // 2
            self.n = min(n, half)
            self.pairs = [(real[order[half:]], real[order[: self.n]]) for order in orders]
            self.note = (
                f"random halves of {len(real)} real clips, n = {self.n}, mean of {HALVINGS}: "
                "far too few for a Frechet distance in 64 dimensions, so read the kernel distance"
            )

    def row(self, x: Tensor | None) -> str:
        """Both distances of features x, or of the other real clips, with the standard deviation of the latter."""
        chosen = [self._some(x, i) if x is not None else other for i, (_, other) in enumerate(self.pairs)]
        far = [frechet(part, real) for part, (real, _) in zip(chosen, self.pairs)]
        near = torch.tensor([kernel_distance(part, real) for part, (real, _) in zip(chosen, self.pairs)])
        if len(near) > 1:
            spread = float(near.std())
        else:
            spread = half_samples(lambda part: kernel_distance(part, self.pairs[0][0]), chosen[0])
        return f"{sum(far) / len(far):.2f} | {float(near.mean()):.2f} ± {spread:.2f}"

    def _some(self, x: Tensor, i: int) -> Tensor:
        return x[torch.randperm(len(x), generator=draws(0, "some", i))[: self.n]]


class Originals:
    """The training clips that samples may be copies of."""

    def __init__(self, critic: SoundJudge, train: Examples, features: Tensor) -> None:
        self.critic, self.raw, self.features = critic, train.raw, features
        self.outlines = copy_features(train.raw, critic.rate)
        self.shift = round(SHIFT * critic.rate / default(critic.rate, 32).hop)
        self.limit = 0.0
        own = torch.arange(min(ALONE, len(train.raw))) * len(train.raw) // min(ALONE, len(train.raw))
        self.alone = self.compare(train.raw[own], own)
        self.limit = float(self.alone[1].median()) / 2

    def compare(self, raw: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return each clip's distance to the nearest training clip in features and in mel (dB), and correlation."""
        near, _ = nearest.nearest(self.critic.features(raw), self.features, own)
        mel, which = nearest.nearest_aligned(
            copy_features(raw, self.critic.rate), self.outlines, self.shift, CANDIDATES, own
        )
        waves, a, b = torch.zeros(len(raw), dtype=torch.float64), raw.mean(1), self.raw.mean(1)
        for candidates in which.T:
            waves = torch.maximum(waves, nearest.correlation(a, b[candidates]))
        return near, mel[:, 0], waves

    def row(self, found: tuple[Tensor, Tensor, Tensor]) -> str:
        """Medians with intervals, and the share of copies by either definition."""
        near, mel, wave = found
        low, high = bootstrap(mel, lambda rows: rows.median(-1).values)
        return (
            f"{float(near.median()):.2f} | {float(mel.median()):.1f} ({low:.1f} to {high:.1f}) | "
            f"{share(wave > SAME_WAVE)} | {share(mel < self.limit)}"
        )


def everything(data: Dataset) -> Examples:
    """All examples of a split, or MAX_REAL of them."""
    n = min(MAX_REAL, len(data))
    return data.take(torch.arange(n) * len(data) // max(n, 1))


def noise_like(real: Examples, n: int) -> Tensor:
    """White noise with the power and the length of real clips: (n, C, L)."""
    rows = torch.arange(n) % len(real.raw)
    raw, length = real.raw[rows], real.cond["length"][rows][:, None, None]
    power = raw.square().sum((1, 2), keepdim=True) / (length * raw.shape[1])
    inside = torch.arange(raw.shape[-1]) < length
    return torch.randn(raw.shape, generator=draws(0, "ceiling")) * power.sqrt() * inside


def print_judge(critic: SoundJudge, real: Splits, folds: int) -> None:
    """Print how good the judge is. `folds`: of the cross-validation when few clips are held out, 0 for none."""
    right = round(critic.accuracy * critic.tested)
    print(f"judge {critic.name}: right on {right} of {critic.tested} held-out clips, {critic.accuracy:.1%}")
    if critic.tested < FEW and folds:
        known = cross_validate(SoundJudge, real, folds)
        print(f"  {folds} judges like it, each on the part of all {len(known)} clips it was not shown: {share(known)}")


def print_agreement(asked: Sequence[str], seen: Sequence[str], say: Callable[[str], None] = print) -> None:
    """Each label's agreement and what was seen instead."""
    right = agreement(asked, seen)
    for label in sorted(set(asked)):
        mine = torch.tensor([a == label for a in asked])
        others = [s for a, s in zip(asked, seen) if a == label and s != label]
        common = sorted(set(others), key=lambda s: (-others.count(s), s))[:3]
        say(f"  {label}: {share(right[mine])}" + "".join(f", {others.count(s)} {s}" for s in common))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("run")
    ask.add_argument("--n", type=int, default=1000)
    ask.add_argument("--steps", type=int, nargs="*", default=[None])
    ask.add_argument("--guidance", type=float, nargs="*", default=[None])
    ask.add_argument("--sampler", nargs="*", default=[None])
    ask.add_argument("--ema", type=float, default=None)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--batch", type=int, default=64)
    ask.add_argument("--folds", type=int, default=5, help="judges trained to tell how good one is; 0 for none")
    chosen = ask.parse_args()

    generator = toolkit.load(chosen.run, ema=chosen.ema)
    kind = find("audio")
    real = kind(*recipe.validate_for(generator.recipe, kind))
    real.open(paths.cache())
    assert isinstance(real, Audio)
    assert real.splits is not None
    critic = obtain(SoundJudge, real.splits)
    print_judge(critic, real.splits, chosen.folds)
    train, test = everything(real.dataset("train")), everything(real.dataset("test"))
    features = critic.features(train.raw)
    distances = Distances(features, critic.features(test.raw), chosen.n)
    print(f"distances to {distances.note}")
    print("  | Frechet | kernel, with standard error")
    print(f"  real, the floor | {distances.row(None)}")
    print(f"  white noise, the ceiling | {distances.row(critic.features(noise_like(train, distances.n)))}")
    originals = Originals(critic, train, features)
    header = "nearest of {:,} training clips | in features | in mel spectrogram, dB | same waveform | below {:.1f} dB"
    print(header.format(len(train.raw), originals.limit))
    print(f"  training clips, without themselves | {originals.row(originals.alone)}")
    print(f"  held-out clips | {originals.row(originals.compare(test.raw))}")
    settings = [(a, b, c) for a in chosen.sampler for b in chosen.steps for c in chosen.guidance]
    for sampler, steps, guidance in settings:
        began = time.perf_counter()
        samples = generator.sample(
            chosen.n, steps=steps, guidance=guidance, sampler=sampler, seed=chosen.seed, batch=chosen.batch
        )
        seconds = time.perf_counter() - began
        s = generator.recipe.sample
        print(
            f"{sampler or s.sampler}, {steps or s.steps} steps, guidance {s.guidance if guidance is None else guidance}"
        )
        print(f"  {chosen.n / seconds:.2f} samples/s; {generator.modality.view().rate(samples.raw, seconds)}")
        raw = fit_length(samples.raw, real.shape[-1])
        seen = [critic.names[i] for i in critic.labels(raw).tolist()]
        if samples.labels:
            print(f"  agreement with the asked label, n = {chosen.n}: {share(agreement(samples.labels, seen))}")
            for part in range(parts(critic.names) if parts(critic.names) > 1 else 0):
                print(f"    part {part + 1} of it: {share(agreement(samples.labels, seen, part))}")
            print_agreement(samples.labels, seen)
        print(f"  Frechet | kernel: {distances.row(critic.features(raw))}")
        print(f"  nearest training clip: {originals.row(originals.compare(raw))}", flush=True)


if __name__ == "__main__":
    main()
