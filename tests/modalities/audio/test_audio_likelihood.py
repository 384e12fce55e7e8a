"""Bits of sounds against a closed form: clips of white noise under a model of white noise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from modalities.audio import Audio, options
from modalities.audio.evaluate.likelihood import STEP
from toolkit.diffusion.schedule import RectifiedFlow
from toolkit.evaluation import likelihood
from toolkit.verify.oracle import GaussianDenoiser

TERMS = ("prior", "diffusion", "reconstruction")


@pytest.mark.parametrize("emphasis", [0.0, 0.8])
def test_bits_of_white_noise(tmp_path: Path, emphasis: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "DRAWS", 2048)
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 8)):
        (tmp_path / "noise" / split).mkdir(parents=True)
        for i in range(count):
            noise = 0.1 * rng.standard_normal(600 + 40 * i)
            soundfile.write(tmp_path / "noise" / split / f"{i}.wav", noise, 8000, subtype="PCM_16")
    audio = Audio(options.Data(source=str(tmp_path / "noise"), emphasis=emphasis), options.Model())
    audio.open(tmp_path / "cache", lambda text: None)
    held = audio.dataset("test")
    examples = held.take(torch.arange(len(held)))
    raw = (examples.raw.double() / STEP).round() * STEP
    inside = torch.arange(raw.shape[-1]) < examples.cond["length"][:, None, None]
    x = audio.encode(raw)[inside].double()
    # -log2 of N(x; 0, 1) times the width of a step, on average over what sounds
    nats = 0.5 * math.log(2 * math.pi) + x.square().mean() / 2 - math.log(STEP / audio.facts.std)
    expected = float(nats) / math.log(2)

    assert audio.splits is not None
    denoiser = GaussianDenoiser(RectifiedFlow())
    found = audio.evaluator().likelihood(denoiser, None, audio.splits, len(held), lambda text: None)
    bits = {figure.name: figure for figure in found}
    total, flow = bits["bits/sample"], bits["bits/sample: flow"]
    assert total.value is not None and flow.value is not None and flow.n == 4
    # noise begins at half a step, and what is left to be known of the grid costs next to nothing more than the truth
    assert expected < total.value < expected + 0.05
    assert total.value == pytest.approx(sum(bits[f"bits/sample: {term}"].value or 0 for term in TERMS))
    # what noise down to half a step leaves to be known of a normal number, log2(1 + SNR) / 2
    heard = float(x.square().mean()) / (likelihood.LEAST * STEP / audio.facts.std) ** 2
    assert bits["bits/sample: diffusion"].value == pytest.approx(math.log2(1 + heard) / 2, abs=0.05)
    # four clips and one probe tell less exactly
    assert flow.value == pytest.approx(expected, abs=0.1)
