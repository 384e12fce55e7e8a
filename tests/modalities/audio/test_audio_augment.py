"""Variations of sounds against closed forms; what is beyond a clip's end stays silent."""

from __future__ import annotations

import math

import pytest
import torch

from modalities.audio.data.augment import augment, note
from modalities.audio.options import Data
from toolkit.diffusion.randomness import Draws

RATE = 8_000
OFF = {"polarity": False}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(raw: torch.Tensor, seed: int = 0) -> Draws:
    return Draws(seed, range(len(raw)))


def clips(count: int = 64, frames: int = 2048, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise in [-0.5, 0.5], each clip as long as it likes."""
    raw = torch.rand(count, channels, frames, generator=generator(1)) - 0.5
    length = torch.randint(frames // 4, frames + 1, (count,), generator=generator(2))
    return raw * (torch.arange(frames) < length[:, None])[:, None], length


def test_nothing_is_done_unless_asked() -> None:
    raw, length = clips()
    same, end = augment(raw, length, Data(**OFF), RATE, drawn(raw))
    assert same is raw and end is length


def test_polarity_and_gain_are_factors() -> None:
    raw, length = clips(400, 512, channels=2)
    got, end = augment(raw, length, Data(gain=6), RATE, drawn(raw))
    assert torch.equal(end, length)
    factor = (got * raw).sum((1, 2)) / (raw * raw).sum((1, 2))
    assert torch.allclose(got, raw * factor[:, None, None], atol=1e-6)
    decibels = 20 * factor.abs().log10()
    assert decibels.abs().max() <= 6.0001 and abs(float(decibels.mean())) < 0.5
    assert abs(float(decibels.std()) - 12 / math.sqrt(12)) < 0.3  # of a uniform distribution of that width
    assert 0.4 < float((factor < 0).float().mean()) < 0.6
    plain, _ = augment(raw, length, Data(gain=6, polarity=False), RATE, drawn(raw))
    assert torch.equal(plain.abs(), got.abs()) and torch.equal(plain.sign(), raw.sign())
    only, _ = augment(raw, length, Data(), RATE, drawn(raw))
    assert torch.equal(only.abs(), raw.abs()) and torch.equal(only.sign(), got.sign())


def test_a_loud_clip_is_turned_up_to_full_scale_and_no_further() -> None:
    raw = torch.stack([torch.full((1, 256), 0.9), torch.full((1, 256), 0.1), torch.zeros(1, 256)])
    raw, length = raw.repeat(100, 1, 1), torch.full((300,), 256)
    got, _ = augment(raw, length, Data(gain=24, polarity=False), RATE, drawn(raw))
    peaks = got.amax((1, 2)).view(100, 3)
    assert peaks[:, 0].max() == 1.0 and (peaks[:, 0] == 1.0).sum() > 30 and peaks[:, 0].min() < 0.5
    assert peaks[:, 1].max() == 1.0 and peaks[:, 2].max() == 0
    ramp = torch.linspace(-0.9, 0.4, 256).expand(100, 1, 256)
    got, _ = augment(ramp, length[:100], Data(gain=24, polarity=False), RATE, drawn(ramp))
    assert torch.allclose(got, ramp * got.abs().amax(2, keepdim=True) / 0.9, atol=1e-6)  # scaled, never clipped


def test_a_delay_moves_the_samples_and_the_end() -> None:
    raw, length = clips(300, 1024, channels=2)
    got, end = augment(raw, length, Data(shift=0.02, **OFF), RATE, drawn(raw))
    delays = []
    for before, after, size, stop in zip(raw, got, length.tolist(), end.tolist()):
        delay = int((after[0] != 0).nonzero()[0]) - int((before[0] != 0).nonzero()[0])
        kept = min(size, 1024 - delay)
        assert not after[:, :delay].any() and stop == delay + kept
        assert torch.equal(after[:, delay : delay + kept], before[:, :kept]) and not after[:, stop:].any()
        delays.append(delay)
    assert min(delays) == 0 and max(delays) == 160 and len(set(delays)) > 100


def test_at_least_half_of_a_sound_stays() -> None:
    raw, length = clips(100, 512)
    got, end = augment(raw, length, Data(shift=1.0, **OFF), RATE, drawn(raw))
    kept = (got != 0).sum((1, 2))
    assert (kept >= (length + 1) // 2 - 1).all() and end.max() == 512


@pytest.mark.parametrize("frequency", [200.0, 900.0])
def test_speed_moves_the_pitch(frequency: float) -> None:
    """A sine of f becomes one of f times the speed, and as much shorter."""
    frames, size = 4096, 3000
    n = torch.arange(frames, dtype=torch.float64)
    wave = 0.5 * torch.sin(2 * math.pi * frequency / RATE * n) * (n < size)
    raw, length = wave.float().expand(50, 1, frames), torch.full((50,), size)
    got, end = augment(raw, length, Data(speed=0.2, **OFF), RATE, drawn(raw))
    assert end.min() < 2600 and end.max() > 3500
    for clip, stop in zip(got[:, 0], end.tolist()):
        assert not clip[stop:].any() and clip[stop - 3 : stop].any()
        speeds = torch.linspace((size - 1) / stop, (size - 1) / (stop - 1), 50, dtype=torch.float64)
        want = 0.5 * torch.sin(2 * math.pi * frequency / RATE * speeds[:, None] * n[None, : stop - 2])
        error = (clip[: stop - 2] - want).abs().amax(1).min()
        assert error < (0.003 if frequency < 500 else 0.05)  # the cubic's error grows with frequency


def test_a_constant_stays_constant_at_any_speed() -> None:
    raw, length = torch.full((30, 2, 1024), 0.7), torch.full((30,), 1024)
    got, end = augment(raw, length, Data(speed=0.3, **OFF), RATE, drawn(raw))
    for clip, stop in zip(got, end.tolist()):
        assert torch.allclose(clip[:, 2 : stop - 3], torch.tensor(0.7), atol=1e-6)


def test_everything_together_stays_in_range_and_silent_beyond_the_end() -> None:
    raw, length = clips(200, 1024, channels=2)
    raw = (raw * 2).clamp(-1, 1)
    options = Data(gain=12, shift=0.05, speed=0.3)
    got, end = augment(raw, length, options, RATE, drawn(raw))
    assert got.abs().max() <= 1 and got.dtype == torch.float32 and end.dtype == torch.int64
    assert not (got * (torch.arange(1024) >= end[:, None])[:, None]).any()
    assert (end >= 1).all() and (end <= 1024).all()
    again, _ = augment(raw, length, options, RATE, drawn(raw))
    assert torch.equal(again, got)
    assert not torch.equal(augment(raw, length, options, RATE, drawn(raw, 5))[0], got)


def test_an_example_does_not_depend_on_those_that_follow() -> None:
    raw, length = clips(8, 512)
    options = Data(gain=12, shift=0.05, speed=0.3)
    whole, _ = augment(raw, length, options, RATE, drawn(raw))
    part, _ = augment(raw[:3], length[:3], options, RATE, drawn(raw[:3]))
    assert torch.equal(whole[:3], part)


def test_one_sample_survives() -> None:
    raw = torch.zeros(20, 1, 256)
    raw[:, :, 0] = 0.5
    got, end = augment(raw, torch.ones(20, dtype=torch.int64), Data(speed=0.4, shift=0.01, **OFF), RATE, drawn(raw))
    assert ((got != 0).sum((1, 2)) == 1).all() and torch.equal((got != 0).int().argmax(-1)[:, 0] + 1, end)


def test_the_note() -> None:
    assert note(Data(polarity=False)) == ""
    assert note(Data()) == "polarity"
    every = note(Data(gain=6, shift=0.1, speed=0.05))
    assert every == "gain of up to ±6 dB, polarity, delays of up to 0.1 s, speeds of up to ±5%"
    assert note(Data(polarity=False, speed=0.025)) == "speeds of up to ±2.5%"
