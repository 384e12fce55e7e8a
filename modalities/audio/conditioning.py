"""Lengths of sounds, masks, and mel spectrograms: the conditions of the network, in training and in sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from modalities.audio import griffin_lim, mel
from modalities.audio.codec import Codec, rate_of, read
from modalities.audio.data.augment import augment
from modalities.audio.options import Data, Model, SampleOptions
from toolkit.conditioning import Conditioning, Request
from toolkit.data.dataset import MAX_NUMBERS, Examples, Facts, Splits
from toolkit.diffusion.randomness import Draws, uniform
from toolkit.errors import UsageError
from toolkit.recipe.options import Options

GRAIN = 256
"""Every array is a multiple of it: the strides of all networks and the hops of all spectrograms divide it."""
PARTS = 8
"""Clips are padded to one of so many lengths, in training and in sampling alike."""
QUANTILES = 17
"""Of the durations of each label: what is drawn from when nobody says how long a sound is to be."""


class AudioConditioning(Conditioning):
    """mask and seconds of each clip; of a vocoder, its mel spectrogram in place of a label."""

    def __init__(self, data: Data, model: Model, facts: Facts, splits: Splits | None) -> None:
        """`splits`: the open data, if it is: a vocoder resynthesises its clips while it trains."""
        super().__init__(facts.shape)
        self.data, self.facts, self.splits = data, facts, splits
        self.rate = rate_of(facts)
        self.codec = Codec.of(data, facts)
        self.mel = mel.default(self.rate, model.mels) if model.condition == "mel" else None

    def batch(self, examples: Examples, draws: Draws) -> Examples:
        """Augment, cut to the longest of the batch, and add mask, seconds, perhaps mel."""
        raw, length = augment(examples.raw, examples.cond["length"], self.data, self.rate, draws)
        frames = rounded(int(length.max()), self.shape[-1])
        raw = raw[..., :frames].contiguous()
        cond = conditions(length, frames, self.shape[-1])
        if self.mel is not None:
            cond["mel"] = mel.normalise(mel.log_mel(raw, self.mel))
        elif "label" in examples.cond:
            cond["label"] = examples.cond["label"]
        return Examples(raw, cond)

    def plan(self, options: Options, labels: Tensor | None, seed: int, positions: Sequence[int]) -> list[Request]:
        """Clips of the asked or a drawn duration, or of the sound file whose mel spectrogram is given."""
        assert isinstance(options, SampleOptions)
        if self.mel is None:
            for name in ("iterations", "mel"):
                if getattr(options, name) is not None:
                    raise UsageError(f"--{name} is for a run that was trained with --condition mel; this one was not")
            lengths = self._lengths(options, labels, seed, positions)
            return by_length(lengths, self.shape[0], self.shape[1], options.join)
        if options.mel is None:
            return self._resynthesis(positions)
        if options.seconds is not None:
            raise UsageError("--mel fixes the duration; leave --seconds out")
        sound = read(Path(options.mel), self.rate, self.shape[0])
        return [of_sound(sound, self.mel, self.shape, len(positions), options.join)]

    def count(self, options: Options) -> int | None:
        """One resynthesis of one file."""
        assert isinstance(options, SampleOptions)
        return None if options.mel is None else 1

    def finish(self, x: Tensor, cond: Mapping[str, Tensor], options: Options) -> Tensor:
        """Fade the end; of a vocoder's sounds, restore the spectrograms that they were made from."""
        assert isinstance(options, SampleOptions)
        mask = cond["mask"].to(x.device)
        if self.mel is None:
            return griffin_lim.faded(x, mask, self.rate)
        rounds = griffin_lim.ROUNDS if options.iterations is None else options.iterations
        target = mel.restored(cond["mel"].to(x.device))
        return self.codec.encode(griffin_lim.matched(self.codec.decode(x), target, self.mel, rounds) * mask)

    def _lengths(self, options: SampleOptions, labels: Tensor | None, seed: int, positions: Sequence[int]) -> Tensor:
        """Samples of each clip, (B,) int64."""
        if options.seconds is not None:
            return torch.full((len(positions),), max(1, round(options.seconds * self.rate)))
        durations = self.facts.extra["durations"]
        assert isinstance(durations, tuple)
        return (draw(durations, labels, seed, positions) * self.rate).round().long()

    def _resynthesis(self, positions: Sequence[int]) -> list[Request]:
        """Held-out clips, or training clips, from their spectrograms, where no file is named."""
        assert self.mel is not None
        if self.splits is None:
            raise UsageError("this run is a vocoder: say which sound to make again with --mel FILE")
        clips = self.splits.test if len(self.splits.test) else self.splits.train
        examples = clips.take(torch.tensor([position % len(clips) for position in positions]))
        cond = conditions(examples.cond["length"], self.shape[-1], self.shape[-1])
        cond["mel"] = mel.normalise(mel.log_mel(examples.raw, self.mel))
        return [Request(tuple(range(len(positions))), self.shape, cond)]


def rounded(length: int, trained: int) -> int:
    """The length of an array that holds `length` samples: the next eighth of `trained`, or of grain beyond that."""
    if length >= trained:
        return -(-length // GRAIN) * GRAIN
    step = -(-trained // (PARTS * GRAIN)) * GRAIN
    return min(trained, -(-length // step) * step)


def conditions(length: Tensor, frames: int, trained: int) -> dict[str, Tensor]:
    """mask (B, 1, frames) and seconds (B,), the share of a training example that is filled, for length: (B,) int64."""
    mask = (torch.arange(frames) < length[:, None, None]).float()
    return {"mask": mask, "seconds": (length / trained).clamp(max=1).float()}


def quantiles(seconds: Tensor, labels: Tensor | None, count: int) -> tuple[float, ...]:
    """Durations of `count` labels, then of all, QUANTILES of each one after the other. seconds, labels: (N,)."""
    levels = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    groups = [seconds[labels == i] for i in range(count)] if labels is not None else []
    rows = [(g if len(g) else seconds).double().quantile(levels) for g in [*groups, seconds]]
    return tuple(round(float(value), 6) for value in torch.cat(rows))


def draw(durations: Sequence[float], labels: Tensor | None, seed: int, positions: Sequence[int]) -> Tensor:
    """Seconds (B,) for samples with these labels (B,), each a function of (seed, position): `quantiles`, inverted."""
    table = torch.tensor(durations, dtype=torch.float64).reshape(-1, QUANTILES)
    rows = table[labels] if labels is not None else table[-1:].expand(len(positions), -1)
    place = uniform(seed, "seconds", positions) * (QUANTILES - 1)
    low = place.long().clamp(max=QUANTILES - 2)[:, None]
    left, right = rows.gather(1, low)[:, 0], rows.gather(1, low + 1)[:, 0]
    return left + (place - low[:, 0]) * (right - left)


def by_length(length: Tensor, channels: int, trained: int, join: str) -> list[Request]:
    """A request for each array length that occurs, shortest first. length: (B,) int64 samples. Raises UsageError."""
    sizes = [_size(n, trained, join) for n in length.tolist()]
    requests = []
    for size in sorted(set(sizes)):
        which = [i for i, s in enumerate(sizes) if s == size]
        shape = _checked((channels, size))
        window = trained if size > trained and join == "windows" else None
        requests.append(Request(tuple(which), shape, conditions(length[which], size, trained), window, GRAIN))
    return requests


def of_sound(raw: Tensor, spec: mel.MelSpec, shape: tuple[int, ...], n: int, join: str) -> Request:
    """`n` resynthesised versions of one sound (C, L), from its mel spectrogram. Raises UsageError."""
    channels, trained = shape
    length = torch.full((n,), raw.shape[-1])
    size = _size(raw.shape[-1], trained, join)
    padded = torch.zeros(_checked((channels, size)))
    padded[:, : raw.shape[-1]] = raw
    cond = conditions(length, size, trained)
    cond["mel"] = mel.normalise(mel.log_mel(padded[None], spec)).expand(n, -1, -1)
    window = trained if size > trained and join == "windows" else None
    return Request(tuple(range(n)), (channels, size), cond, window, GRAIN)


def _size(length: int, trained: int, join: str) -> int:
    size = rounded(length, trained)
    # a longer one in windows is at least one and a half, or its two windows would be nearly the same
    return size if size <= trained or join == "whole" else max(size, -(-3 * trained // (2 * GRAIN)) * GRAIN)


def _checked(shape: tuple[int, int]) -> tuple[int, int]:
    if shape[0] * shape[1] > MAX_NUMBERS:
        raise UsageError(f"{shape[1]:,} samples are too many for one sound; ask for fewer --seconds")
    return shape
