"""Compare a vocoder run with held-out sounds, beside Griffin-Lim on the same mel spectrograms, in one run.

    toolkit train --modality audio --condition mel --out runs/vocoder
    python benchmarks/audio_vocoder.py runs/vocoder [--files 40] [--steps 20] [--iterations 32] [--out vocoder]

Each of N clips of the run's test split is written to a file, as a user would have it, made into sound again from its
mel spectrogram by the run and by Griffin-Lim, and compared with itself; also by the run's network alone, and by what
follows it (modalities/audio/griffin_lim.py) from white noise, so that one sees what each is for. Printed: medians over
clips, with 95 % bootstrap intervals, lower is better everywhere; seconds of computing for a second of sound are on this
machine with nothing else running, one clip at a time, with file reading for ours. OUT receives vocoder.png (4 clips:
real, and made again in each way) and their sounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import toolkit
from modalities.audio import Audio, griffin_lim, mel
from modalities.audio.evaluate import vocoder
from modalities.audio.view import files, picture
from toolkit import paths
from toolkit.errors import UsageError
from toolkit.evaluation.metrics.interval import bootstrap
from toolkit.run.generator import Generator

SHOWN = 4
TIME = "computing, s per s of sound"
ROWS = {
    "log-spectral distance, dB": "log_spectral_distance_db",
    "mel-cepstral distortion, dB": "mel_cepstral_distortion_db",
    "multi-resolution STFT, spectral convergence": "spectral_convergence",
    "multi-resolution STFT, log magnitude": "log_magnitude",
    TIME: TIME,
}
Vocoder = Callable[[Tensor, int], Tensor]
"""A clip (C, L), and its number, to a clip of the same length."""


def by_run(generator: Generator, folder: Path, steps: int | None, iterations: int) -> Vocoder:
    """The run, which is given a file; iterations = 0: its network alone."""
    audio = generator.modality
    assert isinstance(audio, Audio)

    def run(clip: Tensor, number: int) -> Tensor:
        path = files.write(clip[None], audio.rate, folder, [f"{number}"], "float")[0]
        made = generator.sample(1, steps=steps, seed=number, mel=str(path), iterations=iterations).raw[0]
        return fitted(made, clip.shape[-1])

    return run


def by_polish(spec: mel.MelSpec, iterations: int) -> Vocoder:
    """The steps that follow the network, from white noise."""

    def run(clip: Tensor, number: int) -> Tensor:
        padded = torch.nn.functional.pad(clip, (0, -clip.shape[-1] % spec.hop))[None]
        noise = 0.1 * torch.randn(padded.shape, generator=torch.Generator().manual_seed(number))
        return fitted(griffin_lim.match_mel(noise, mel.log_mel(padded, spec), spec, iterations)[0], clip.shape[-1])

    return run


def by_griffin_lim(spec: mel.MelSpec, iterations: int) -> Vocoder:
    """Griffin-Lim from the same spectrogram; both sides of a stereo clip are its mean."""

    def run(clip: Tensor, number: int) -> Tensor:
        padded = torch.nn.functional.pad(clip, (0, -clip.shape[-1] % spec.hop))
        made = vocoder.griffin_lim(mel.log_mel(padded[None], spec), spec, iterations, seed=number)
        return fitted(made.expand(clip.shape[0], -1), clip.shape[-1])

    return run


def fitted(clip: Tensor, length: int) -> Tensor:
    """(C, L) cut or padded with zeros to `length`."""
    return torch.nn.functional.pad(clip, (0, length - clip.shape[-1]))


def measured(way: Vocoder, clips: list[Tensor], rate: int) -> tuple[list[Tensor], dict[str, np.ndarray]]:
    """Return what `way` makes of each clip, and the figures of each, (N,) by name."""
    way(clips[0], 0)  # the first call pays for imports and tables
    made, found = [], []
    for number, clip in enumerate(clips):
        began = time.perf_counter()
        made.append(way(clip, number))
        seconds = time.perf_counter() - began
        figures = vocoder.pair_metrics(clip.numpy(), made[-1].numpy(), rate)
        found.append({**figures, TIME: seconds * rate / clip.shape[-1]})
    return made, {name: np.array([figures[name] for figures in found]) for name in found[0]}


def interval(values: np.ndarray) -> str:
    """Median, with the 95 % percentile bootstrap interval over clips."""
    low, high = bootstrap(torch.from_numpy(values), lambda rows: rows.quantile(0.5, -1), draws=4_000)
    return f"{np.median(values):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("run")
    ask.add_argument("--files", type=int, default=40)
    ask.add_argument("--steps", type=int, default=None)
    ask.add_argument("--iterations", type=int, default=32, help="of Griffin-Lim, in both")
    ask.add_argument("--out", type=Path, default=Path("vocoder"))
    chosen = ask.parse_args()

    generator = toolkit.load(chosen.run)
    audio = generator.modality
    if not isinstance(audio, Audio) or not audio.vocoder:
        raise UsageError(f"{chosen.run} is no vocoder: it must be trained with --modality audio --condition mel")
    data = Audio(audio.data, audio.model)
    data.open(paths.cache())
    test = data.dataset("test")
    count = min(chosen.files, len(test))
    if count == 0:
        raise UsageError(f"the data of {chosen.run} has no test split, so there is nothing to compare with")
    # spread over the split, which is sorted by label
    examples = test.take(torch.linspace(0, len(test) - 1, count).round().long())
    clips = [clip[:, :n] for clip, n in zip(examples.raw, examples.cond["length"].tolist(), strict=True)]
    seconds = sum(clip.shape[-1] for clip in clips) / audio.rate
    spec = mel.default(audio.rate, audio.model.mels)
    print(f"{count} held-out clips of {audio.data.source}, {seconds:.1f} s at {audio.rate} Hz; {spec}")
    with tempfile.TemporaryDirectory() as folder:
        rounds = chosen.iterations
        ways = {
            "ours": by_run(generator, Path(folder), chosen.steps, rounds),
            f"Griffin-Lim, {rounds} iterations": by_griffin_lim(spec, rounds),
            "our network alone": by_run(generator, Path(folder), chosen.steps, 0),
            "our last step, of noise": by_polish(spec, rounds),
        }
        results = {name: measured(way, clips, audio.rate) for name, way in ways.items()}
    print(f"| | {' | '.join(ways)} | ours is better than Griffin-Lim on |\n|---|{'---|' * (len(ways) + 1)}")
    ours, theirs = (figures for _, figures in list(results.values())[:2])
    for title, name in ROWS.items():
        wins = int((ours[name] < theirs[name]).sum())
        cells = " | ".join(interval(figures[name]) for _, figures in results.values())
        print(f"| {title} | {cells} | {wins} of {count} |")
    save(clips, {name: made for name, (made, _) in results.items()}, audio.rate, chosen.out)


def save(clips: list[Tensor], made: dict[str, list[Tensor]], rate: int, out: Path) -> None:
    """A picture and the files of a few clips, spread over all: real, and as each way made them."""
    which = np.linspace(0, len(clips) - 1, min(SHOWN, len(clips))).round().astype(int).tolist()
    rows = {"real": clips, **{name.split(",")[0]: parts for name, parts in made.items()}}
    longest = max(clips[i].shape[-1] for i in which)
    raw = torch.stack([fitted(parts[i], longest) for parts in rows.values() for i in which])
    labels = [name for name in rows for _ in which]
    out.mkdir(parents=True, exist_ok=True)
    picture.preview(raw, rate, labels).save(out / "vocoder.png")
    files.write(raw, rate, out, [f"{which[k % len(which)]:03d}-{label}" for k, label in enumerate(labels)])
    print(f"picture and sounds: {out}")


if __name__ == "__main__":
    main()
