"""Measure the samples of an image run: label agreement and Frechet distance, beside a real-vs-real floor.

    python benchmarks/image_quality.py runs/digits [--reference mnist] [--agree 1000] [--frechet 5000] [--steps 20] ...

A judge (a small CNN) is trained on the real train split of the reference. Agreement: the share of samples in which
it sees the asked label. Distance: between its 64 features of n samples and of the reference's test split; floor: the
same for n real pictures of the reference's train split.
"""

from __future__ import annotations

import argparse
import time

import torch

import toolkit
from modalities.image import Image
from modalities.image.evaluate.judge import PictureJudge
from modalities.image.options import Data, Model
from toolkit import paths
from toolkit.evaluation.judge import obtain
from toolkit.evaluation.metrics.frechet import frechet


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("run")
    ask.add_argument("--reference", default="mnist", help="data set that the judge learns and compares with")
    ask.add_argument("--agree", type=int, default=1000)
    ask.add_argument("--frechet", type=int, default=5000)
    ask.add_argument("--steps", type=int, nargs="*", default=[None])
    ask.add_argument("--guidance", type=float, nargs="*", default=[None])
    ask.add_argument("--sampler", nargs="*", default=[None])
    ask.add_argument("--grid", nargs="*", default=[None])
    ask.add_argument("--ema", type=float, default=None)
    ask.add_argument("--seed", type=int, default=1)
    chosen = ask.parse_args()

    generator = toolkit.load(chosen.run, ema=chosen.ema)
    size = generator.modality.shape[-1]
    real = Image(Data(source=chosen.reference, size=size), Model())
    real.open(paths.cache())
    assert real.splits is not None
    critic = obtain(PictureJudge, real.splits)
    print(f"judge {critic.name}: accuracy {critic.accuracy:.2%} on {len(real.dataset('test')):,} real test pictures")
    test, train = real.dataset("test"), real.dataset("train")
    reference = critic.features(test.take(torch.arange(len(test))).raw)
    floor = critic.features(train.take(torch.arange(min(chosen.frechet, len(train)))).raw)
    lowest = frechet(floor, reference)
    print(f"real-vs-real floor, {len(floor):,} train pictures against {len(reference):,} test pictures: {lowest:.3f}")
    print("sampler | grid | steps | guidance | agreement | n | Frechet distance | n | samples/s")
    n = max(chosen.agree, chosen.frechet)
    for sampler in chosen.sampler:
        for grid in chosen.grid:
            for steps in chosen.steps:
                for guidance in chosen.guidance:
                    began = time.perf_counter()
                    samples = generator.sample(
                        n, steps=steps, guidance=guidance, sampler=sampler, grid=grid, seed=chosen.seed, batch=250
                    )
                    rate = n / (time.perf_counter() - began)
                    raw = samples.raw
                    asked = torch.tensor([generator.modality.labels.index(label) for label in samples.labels])
                    right = float((critic.labels(raw[: chosen.agree]) == asked[: chosen.agree]).double().mean())
                    distance = frechet(critic.features(raw[: chosen.frechet]), reference)
                    s = generator.recipe.sample
                    print(
                        f"{sampler or s.sampler} | {grid or s.grid} | {steps or s.steps} | "
                        f"{s.guidance if guidance is None else guidance} | {right:.1%} | {min(n, chosen.agree)} | "
                        f"{distance:.2f} | {min(n, chosen.frechet)} | {rate:.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
