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
from toolkit import memory
from toolkit.conditioning import Conditioning, Request
from toolkit.data.dataset import MAX_NUMBERS, Examples, Facts, Splits
from toolkit.diffusion.randomness import Draws, uniform
from toolkit.errors import UsageError
from toolkit.recipe.options import Options

GRAIN = 256
"""Array lengths are multiples of it: the strides of all networks and the hops of all spectrograms divide it."""
LOWEST_RATE, HIGHEST_RATE = 2_000, 192_000
"""Sample rates that there can be, in Hz: those of the option rate."""
PARTS = 8
"""Number of lengths that clips are padded to, in training and in sampling alike."""
QUANTILES = 17
"""Number of quantiles of each label's durations, from which durations are drawn where `seconds` is not set."""


class AudioConditioning(Conditioning):
    """Conditions mask, seconds and label; a vocoder has mel, a spectrogram, in place of label."""

    def __init__(self, data: Data, model: Model, facts: Facts, splits: Splits | None) -> None:
        """`splits`: the open data or None; a vocoder resynthesises its clips while it trains."""
        super().__init__(facts.shape)
        self.data, self.facts, self.splits = data, facts, splits
        self.rate = rate_of(facts)
        self.codec = Codec.of(data, facts)
        self.mel = mel.default(self.rate, model.mels) if model.condition == "mel" else None

    def batch(self, examples: Examples, draws: Draws) -> Examples:
        """Augment, cut to the longest clip of the batch, and add mask, seconds and, for a vocoder, mel."""
        raw, length = augment(examples.raw, examples.cond["length"], self.data, self.rate, draws)
        frames = array_length(int(length.max()), self.shape[-1])
        raw = raw[..., :frames].contiguous()
        cond = conditions(length, frames, self.shape[-1])
        if self.mel is not None:
            cond["mel"] = mel.normalise(mel.log_mel(raw, self.mel))
        elif "label" in examples.cond:
            cond["label"] = examples.cond["label"]
        return Examples(raw, cond)

    def plan(self, options: Options, labels: Tensor | None, seed: int, positions: Sequence[int]) -> list[Request]:
        """Return requests for clips of `seconds` or of random durations, or for resyntheses of the sound file `mel`."""
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
        """Return 1 where a sound file is resynthesised, else None."""
        assert isinstance(options, SampleOptions)
        return None if options.mel is None else 1

    def finish(self, x: Tensor, cond: Mapping[str, Tensor], options: Options) -> Tensor:
        """Fade the end; for a vocoder, match the spectrograms of `cond` by Griffin-Lim instead."""
        assert isinstance(options, SampleOptions)
        mask = cond["mask"].to(x.device)
        if self.mel is None:
            return griffin_lim.fade_ends(x, mask, self.rate)
        rounds = griffin_lim.ROUNDS if options.iterations is None else options.iterations
        target = mel.denormalise(cond["mel"].to(x.device))
        return self.codec.encode(griffin_lim.match_mel(self.codec.decode(x), target, self.mel, rounds) * mask)

    def _lengths(self, options: SampleOptions, labels: Tensor | None, seed: int, positions: Sequence[int]) -> Tensor:
        """Return the length of each clip in samples, (B,) int64."""
        if options.seconds is not None:
            return torch.full((len(positions),), max(1, round(options.seconds * self.rate)))
        durations = self.facts.extra["durations"]
        assert isinstance(durations, tuple)
        return (draw(durations, labels, seed, positions) * self.rate).round().long()

    def _resynthesis(self, positions: Sequence[int]) -> list[Request]:
        """Return a request for held-out clips, or else training clips, from their spectrograms."""
        assert self.mel is not None
        if self.splits is None:
            raise UsageError("this run is a vocoder: say which sound to make again with --mel FILE")
        clips = self.splits.test if len(self.splits.test) else self.splits.train
        examples = clips.take(torch.tensor([position % len(clips) for position in positions]))
        cond = conditions(examples.cond["length"], self.shape[-1], self.shape[-1])
        cond["mel"] = mel.normalise(mel.log_mel(examples.raw, self.mel))
        return [Request(tuple(range(len(positions))), self.shape, cond)]


def array_length(length: int, trained: int) -> int:
    """Return an array length for `length` samples: the next eighth of `trained`, or multiple of GRAIN beyond it."""
    if length >= trained:
        return -(-length // GRAIN) * GRAIN
    step = -(-trained // (PARTS * GRAIN)) * GRAIN
    return min(trained, -(-length // step) * step)


def conditions(length: Tensor, frames: int, trained: int) -> dict[str, Tensor]:
    """Return mask (B, 1, frames) and seconds (B,), the share of `trained` that length (B,) int64 fills, at most 1."""
    mask = (torch.arange(frames) < length[:, None, None]).float()
    return {"mask": mask, "seconds": (length / trained).clamp(max=1).float()}


def quantiles(seconds: Tensor, labels: Tensor | None, count: int) -> tuple[float, ...]:
    """Return QUANTILES quantiles of the durations of each of `count` labels, then of all. seconds, labels: (N,)."""
    levels = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    groups = [seconds[labels == i] for i in range(count)] if labels is not None else []
    rows = [(g if len(g) else seconds).double().quantile(levels) for g in [*groups, seconds]]
    return tuple(round(float(value), 6) for value in torch.cat(rows))


def wrong(facts: Facts) -> str:
    """Return why no sounds have such facts, or ""; rate and durations decide how much is made of noise."""
    shape, extra, labels = facts.shape, facts.extra, len(facts.labels)
    if len(shape) != 2 or shape[0] > 2:
        return f"shape {list(shape)} is not one or two channels of samples"
    rate, durations = extra.get("rate"), extra.get("durations")
    if type(rate) is not int or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return f"extra.rate must be from {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz"
    if not isinstance(durations, tuple) or len(durations) % QUANTILES or len(durations) < (labels + 1) * QUANTILES:
        return f"extra.durations must be {QUANTILES} quantiles for each label and for all"
    if not all(0 <= seconds <= shape[1] / rate + 1e-3 for seconds in durations):  # not NaN either
        return f"extra.durations must be within the {shape[1] / rate:.3g} s of an example"
    return ""


def draw(durations: Sequence[float], labels: Tensor | None, seed: int, positions: Sequence[int]) -> Tensor:
    """Return random seconds (B,) for labels (B,), by inverting `quantiles`; each is a function of (seed, position)."""
    table = torch.tensor(durations, dtype=torch.float64).reshape(-1, QUANTILES)
    rows = table[labels] if labels is not None else table[-1:].expand(len(positions), -1)
    place = uniform(seed, "seconds", positions) * (QUANTILES - 1)
    low = place.long().clamp(max=QUANTILES - 2)[:, None]
    left, right = rows.gather(1, low)[:, 0], rows.gather(1, low + 1)[:, 0]
    return left + (place - low[:, 0]) * (right - left)


def by_length(length: Tensor, channels: int, trained: int, join: str) -> list[Request]:
    """Return a request for each array length, shortest first. length: (B,) int64 samples. Raises UsageError."""
    sizes = [_size(n, trained, join) for n in length.tolist()]
    memory.require(8 * channels * sum(sizes), f"{len(sizes):,} sounds", "ask for fewer with -n, or for fewer --seconds")
    requests = []
    for size in sorted(set(sizes)):
        which = [i for i, s in enumerate(sizes) if s == size]
        shape = _check_size((channels, size))
        window = trained if size > trained and join == "windows" else None
        requests.append(Request(tuple(which), shape, conditions(length[which], size, trained), window, GRAIN))
    return requests


def of_sound(raw: Tensor, spec: mel.MelSpec, shape: tuple[int, ...], n: int, join: str) -> Request:
    """Return a request for `n` resyntheses of one sound (C, L) from its mel spectrogram. Raises UsageError."""
    channels, trained = shape
    length = torch.full((n,), raw.shape[-1])
    size = _size(raw.shape[-1], trained, join)
    padded = torch.zeros(_check_size((channels, size)))
    padded[:, : raw.shape[-1]] = raw
    cond = conditions(length, size, trained)
    cond["mel"] = mel.normalise(mel.log_mel(padded[None], spec)).expand(n, -1, -1)
    window = trained if size > trained and join == "windows" else None
    return Request(tuple(range(n)), (channels, size), cond, window, GRAIN)


def _size(length: int, trained: int, join: str) -> int:
    size = array_length(length, trained)
    # windows need 1.5 training lengths or more: two of them in less would be nearly the same
    return size if size <= trained or join == "whole" else max(size, -(-3 * trained // (2 * GRAIN)) * GRAIN)


def _check_size(shape: tuple[int, int]) -> tuple[int, int]:
    if shape[0] * shape[1] > MAX_NUMBERS:
        raise UsageError(f"{shape[1]:,} samples are too many for one sound; ask for fewer --seconds")
    return shape
