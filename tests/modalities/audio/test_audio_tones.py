"""Onsets, pitch and levels of sounds, by closed forms; and what damage to real drums each figure shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.audio.codec import ends
from modalities.audio.evaluate import signal_metrics as signal
from modalities.audio.evaluate.evaluator import AudioEvaluator, noise_like
from modalities.audio.evaluate.levels import SILENCE_DB, levels
from modalities.audio.evaluate.onsets import onsets
from modalities.audio.evaluate.tones import HOP, MOST_DB, WINDOW, tones
from modalities.audio.modality import Audio
from modalities.audio.options import Data, Model
from toolkit.data.dataset import Examples, Facts, InMemory, Splits

RATE = 16_000
RATES = (8_000, 22_050, 48_000)


def white(*shape: int, seed: int = 0) -> Tensor:
    """White noise of power 1."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def series(f0: float, rate: int, seconds: float = 1.0, most: int = 20) -> Tensor:
    """A harmonic series below the Nyquist frequency, of power 1: (1, 1, L) float64."""
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    count = max(1, min(most, int(0.45 * rate / f0)))
    x = sum(torch.sin(2 * math.pi * f0 * k * t + k * k) / k for k in range(1, count + 1))
    assert isinstance(x, Tensor)
    return (x / x.square().mean().sqrt())[None, None]


def hits(rate: int, times: tuple[float, ...], gains: tuple[float, ...], seconds: float = 1.0) -> Tensor:
    """Decaying noise, 60 dB in 0.25 s, at these times: (1, 1, L) float64."""
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    x = torch.zeros_like(t)
    for i, (time, gain) in enumerate(zip(times, gains)):
        since = t - time
        x += gain * white(len(t), seed=i) * torch.exp(-since * math.log(1000) / 0.25) * (since >= 0)
    return 0.2 * x[None, None]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("f0", [83.0, 237.0, 610.0])
@pytest.mark.parametrize(
    ("harmonics", "ratios", "off"),
    # the largest value near the period counts, and that of a sine is so broad that noise has many chances there
    [(20, (5, 10, 20, 30), 1.0), (1, (20, 30), 1.0), (1, (10,), 1.5)],
)
def test_a_tone_in_white_noise_has_its_signal_to_noise_ratio(
    rate: int, f0: float, harmonics: int, ratios: tuple[int, ...], off: float
) -> None:
    x = series(f0, rate, most=harmonics)
    noisy = torch.cat([x + 10 ** (-ratio / 20) * white(*x.shape, seed=ratio) for ratio in ratios])
    tone = tones(0.1 * noisy, rate)
    assert tone.voiced.all()
    torch.testing.assert_close(tone.hnr, torch.tensor(ratios).double(), atol=off, rtol=0)


@pytest.mark.parametrize("rate", RATES)
def test_a_steady_tone_is_steady_and_vibrato_is_its_own_closed_form(rate: int) -> None:
    steady = tones(0.3 * series(200, rate), rate)
    assert float(steady.f0_change) < 0.05 and float(steady.hnr) > MOST_DB - 5
    depth, speed = 40.0, 6.0
    t = torch.arange(4 * rate, dtype=torch.float64) / rate
    cents = depth * torch.sin(2 * math.pi * speed * t)
    phase = 2 * math.pi * torch.cumsum(200 * 2 ** (cents / 1200), 0) / rate
    moving = tones((phase.sin() + 0.3 * (2 * phase).sin())[None, None] * 0.3, rate)
    # a frame hears the mean under its squared window; |cos| has the median 1 / sqrt 2
    x = speed * WINDOW
    window = (
        (3 / 8 * np.sinc(x) + (np.sinc(x - 1) + np.sinc(x + 1)) / 4 + (np.sinc(x - 2) + np.sinc(x + 2)) / 16) * 8 / 3
    )
    expected = 2 * depth * math.sin(math.pi * speed * HOP) / math.sqrt(2) * window
    assert math.isclose(float(moving.f0_change), expected, rel_tol=0.05)


def test_noise_silence_and_short_sounds_are_not_voiced() -> None:
    for raw in (white(5, 1, 8_000), torch.zeros(2, 2, 8_000), series(200, 8_000)[..., :700], white(3, 2, 64)):
        tone = tones(raw, 8_000)
        assert not tone.voiced.any() and tone.hnr.isnan().all() and tone.f0_change.isnan().all()
    assert tones(series(200, 8_000)[..., :800], 8_000).voiced.tolist() == [1]  # 0.1 s


@pytest.mark.parametrize("rate", RATES)
def test_onsets_are_counted_at_every_rate(rate: int) -> None:
    sounds = {
        (1, 0): hits(rate, (0.0,), (1.0,)),
        (2, 0): hits(rate, (0.05, 0.3), (1.0, 1.0)),
        (2, 1): hits(rate, (0.0, 0.5), (1.0, 0.1)),
        (3, 2): hits(rate, (0.1, 0.45, 0.8), (0.3, 1.0, 1.0)),
        (0, 0): torch.zeros(1, 1, rate, dtype=torch.float64),
    }
    count, late = onsets(torch.cat(list(sounds.values())), rate)
    assert list(zip(count.tolist(), late.tolist())) == list(sounds)
    # steady sounds begin once, and being cut off is no onset
    for steady in (0.1 * white(8, 1, rate), 0.1 * series(150, rate)):
        assert (onsets(steady, rate)[0] == 1).all()
    assert onsets(0.1 * white(1, 1, 64), rate)[0].tolist() == [1]


def test_levels_of_sines_offsets_and_decays() -> None:
    rate, t = 8_000, torch.arange(8_000, dtype=torch.float64) / 8_000
    sine = torch.sin(2 * math.pi * 100 * t + 0.1)
    gain = 3.0
    decay = torch.exp(-t * math.log(1000) / 0.9) * torch.where(torch.arange(8_000) % 2 == 0, 1.0, -1.0)
    raw = torch.stack([0.5 * sine, 0.5 * sine + 0.1, (gain * sine).clamp(-1, 1 - 2**-15), decay, 0 * t])[:, None]
    level = levels(raw, rate)
    assert math.isclose(float(level.rms[0]), 20 * math.log10(0.5 / math.sqrt(2)), abs_tol=1e-9)
    assert math.isclose(float(level.dc[1]), 0.1 / math.sqrt(0.125 + 0.01), abs_tol=1e-9)
    assert float(level.dc[0]) < 1e-9 and level.clipped[[0, 1, 3, 4]].tolist() == [0, 0, 0, 0]
    # a sine is beyond 1 / gain for all but asin(1 / gain) of a quarter period
    assert math.isclose(float(level.clipped[2]), 1 - 2 / math.pi * math.asin(1 / gain), abs_tol=0.02)
    # 60 dB in 0.9 s: to the last 50 ms it is 0.95 s, to the last 5 ms 0.995 s
    assert math.isclose(float(level.tail[3]), -60 / 0.9 * 0.95, abs_tol=1e-6)
    assert math.isclose(float(level.end[3]), -60 / 0.9 * 0.995, abs_tol=1e-6)
    assert abs(float(level.tail[0])) < 0.05 and abs(float(level.end[0])) < 0.05
    assert float(level.rms[4]) == SILENCE_DB and level.dc[4] == 0 and level.tail[4].isnan() and level.end[4].isnan()


def test_a_bass_at_16_bits_is_not_clipped_and_one_sample_at_the_peak_is_not() -> None:
    t = torch.arange(48_000, dtype=torch.float64) / 48_000
    bass = (0.95 * torch.sin(2 * math.pi * 40 * t) * 2**15).round() / 2**15
    assert float(levels(bass[None, None], 48_000).clipped) < 0.01
    spike = 0.1 * torch.sin(2 * math.pi * 400 * t)
    spike[1_000] = 1
    assert float(levels(spike[None, None], 48_000).clipped) == 0


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_padding_channels_and_polarity_change_nothing(rate: int) -> None:
    raw = torch.cat([0.2 * series(150, rate), hits(rate, (0.0, 0.5), (1.0, 0.5))])
    raw = raw + 0.001 * white(*raw.shape)
    padded = torch.nn.functional.pad(raw, (0, rate // 2))
    opposed = torch.cat([padded, -padded], 1)  # their mean would be silence
    for plain, other in ((raw, padded), (raw, opposed), (raw, -raw)):
        assert torch.equal(onsets(plain, rate)[0], onsets(other, rate)[0])
        for measure in (tones, levels):
            for one, same in zip(measure(plain, rate), measure(other, rate), strict=True):
                torch.testing.assert_close(one, same, atol=1e-9, rtol=1e-9, equal_nan=True)


def test_very_short_and_silent_sounds_have_figures_or_none() -> None:
    facts = Facts(shape=(2, 64), count=40, extra={"rate": 8_000, "channels": 2})
    raw = 0.1 * white(40, 2, 64).float()
    data = Splits("short", InMemory(raw[:20]), InMemory(raw[20:]), facts)
    for samples in (raw[:16], torch.zeros(16, 2, 64)):
        rows = {row.name: row for row in signal.signal_metrics(Examples(samples, {}), data, raw[:5])}
        assert list(rows) == [row.name for row in signal.ROWS]
        assert rows["voiced"].value == 0 and rows["HNR"].value is None and rows["f0 change"].value is None
        assert rows["HNR"].note == "no sample is voiced"
        numbers = [x for row in rows.values() for x in (row.value, row.low, row.high, row.floor, row.ceiling)]
        assert all(x is None or math.isfinite(x) for x in numbers)
    assert rows["tail"].value is None and rows["RMS"].value == SILENCE_DB and rows["onsets"].value == 0


def test_real_sounds_count_by_label_as_samples_do() -> None:
    # label 0 is at 0.5 and label 1 at 0.05: samples have as many of each, the data nine times as many of 0
    def square(levels: list[float]) -> Tensor:
        sign = torch.where(torch.arange(400) % 2 == 0, 1.0, -1.0)
        return torch.tensor(levels)[:, None, None] * sign

    facts = Facts(shape=(1, 400), labels=("a", "b"), count=180, extra={"rate": 8_000, "channels": 1})
    train = InMemory(square([0.5] * 90 + [0.05] * 10), {"label": torch.tensor([0] * 90 + [1] * 10)})
    data = Splits("squares", train, train, facts)
    samples = Examples(square([0.5, 0.05] * 20), {"label": torch.tensor([0, 1] * 20)})
    rows = {row.name: row for row in signal.signal_metrics(samples, data, train.raw[:2])}
    middle = 20 * math.log10(0.5) - 10
    for value in (rows["RMS"].value, rows["RMS"].floor):
        assert value is not None and math.isclose(value, middle, abs_tol=1e-3)
    for value in (rows["RMS spread"].value, rows["RMS spread"].floor):
        assert value is not None and math.isclose(value, 10, abs_tol=1e-3)
    # a label that the samples do not have, and labels that the data does not have
    assert signal.as_often(torch.tensor([0, 0, 1]), torch.tensor([1, 1]), 3).tolist() == [0, 0, 2]
    assert signal.as_often(torch.tensor([0, 0, 1]), torch.tensor([2, 2]), 3).tolist() == [1, 1, 1]


def test_every_label_is_measured_where_samples_take_labels_in_turn() -> None:
    # every fifth of 1,000 samples has one of two labels out of ten
    raw, label = torch.zeros(1_000, 1, 8), torch.arange(1_000) % 10
    raw[:, :, 0] = 0.5
    values = signal.measure([InMemory(raw, {"label": label})], 8_000)
    assert values.label is not None
    pitched = values.label[values.by_name["voiced"].isfinite()]
    assert pitched.bincount(minlength=10).tolist() == [signal.PITCHED // 10] * 10


# ---- real drums, and what is done to them


@pytest.fixture(scope="module")
def drums(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Splits]:
    opened = Audio(Data(source="drums"), Model())
    opened.open(tmp_path_factory.mktemp("cache"), lambda line: None)
    assert opened.splits is not None
    yield opened.splits


@pytest.fixture(scope="module")
def plain(drums: Splits) -> tuple[Tensor, signal.Values]:
    raw = drums.train.take(torch.arange(0, len(drums.train), 3)).raw
    return raw, signal.measure([InMemory(raw)], RATE)


Damage = Callable[[Tensor], Tensor]
STILL = {
    "onsets": 0.06, "late onsets": 0.03, "voiced": 0.08, "HNR": 1.0, "f0 change": 1.0, "tail": 0.3, "end": 0.3,
    "RMS": 0.2, "RMS spread": 0.2, "DC": 0.003, "clipping": 1e-9,
}  # fmt: skip
"""Largest change of a figure that damage of another kind may make."""


def hiss(raw: Tensor) -> Tensor:
    """White noise 30 dB below each sound, up to its end."""
    return raw + 10 ** (-30 / 20) * noise_like(raw, len(raw))


def second_hit(raw: Tensor) -> Tensor:
    """With the same sound 6 dB softer half a second later, which makes it longer."""
    raw = torch.nn.functional.pad(raw, (0, RATE // 2))
    return raw + 0.5 * raw.roll(RATE // 2, -1)


def wobble(raw: Tensor) -> Tensor:
    """f0 that moves by 50 cents, up and down eight times a second: x(t + a sin(2 pi 8 t))."""
    speed, length = 8.0, raw.shape[-1]
    a = (2 ** (50 / 1200) - 1) / (2 * math.pi * speed) * RATE
    n = np.arange(length)
    at = n + a * np.sin(2 * math.pi * speed * n / RATE)
    fine = np.fft.irfft(np.fft.rfft(raw.double().numpy()), 8 * length) * 8  # band-limited, then straight lines
    moved = np.stack([np.interp(8 * at, np.arange(8 * length), sound) for sound in fine[:, 0]])
    return torch.from_numpy(moved).float()[:, None] * (torch.arange(length) < ends(raw)[:, None, None])


def clipping(raw: Tensor) -> Tensor:
    return (3 * raw).clamp(-1, 1 - 2**-15)


def cut(raw: Tensor) -> Tensor:
    """Without the last quarter."""
    return raw * (torch.arange(raw.shape[-1]) < (ends(raw) * 3 // 4)[:, None, None])


def offset(raw: Tensor) -> Tensor:
    return raw + 0.02 * (torch.arange(raw.shape[-1]) < ends(raw)[:, None, None])


def louder(raw: Tensor) -> Tensor:
    return raw * torch.where(torch.arange(len(raw)) % 2 == 0, 1.0, 0.25)[:, None, None]


# What must change, and by how much at least, up or down. Further figures that follow by definition: a sound that is
# cut off, shifted or longer has another end, a clipped one another peak, a longer one another power, and one without
# its last quarter fewer of the soft frames in which noise is loudest.
@pytest.mark.parametrize(
    ("damage", "own", "follow"),
    [
        (hiss, {"tail": 3.5, "end": 10.0, "HNR": -1.5}, set()),
        (second_hit, {"onsets": 0.9, "late onsets": 0.85}, {"tail", "end", "RMS", "DC", "f0 change"}),
        (wobble, {"f0 change": 12.0}, set()),
        (clipping, {"clipping": 0.08}, {"tail", "end", "RMS", "RMS spread", "DC"}),
        (cut, {"end": 15.0, "tail": 8.0}, {"RMS", "HNR"}),
        (offset, {"DC": 0.1, "end": 10.0, "tail": 8.0}, set()),
        (louder, {"RMS": -5.0, "RMS spread": 2.0}, set()),
    ],
)
def test_damage_moves_its_own_figures_and_no_others(
    plain: tuple[Tensor, signal.Values], damage: Damage, own: dict[str, float], follow: set[str]
) -> None:
    raw, real = plain
    rows = signal.metrics(signal.measure([InMemory(damage(raw))], RATE), real, real)
    change = {row.name: row.value - row.floor for row in rows if row.value is not None and row.floor is not None}
    assert change.keys() == STILL.keys()
    for name, least in own.items():
        assert change[name] * math.copysign(1, least) >= abs(least), (name, change)
    moved = {name for name, most in STILL.items() if abs(change[name]) > most}
    assert moved <= own.keys() | follow, {name: change[name] for name in moved}


def test_an_evaluation_has_these_rows_beside_real_drums(drums: Splits, tmp_path: Path) -> None:
    samples = drums.train.take(torch.arange(16))
    rows = {row.name: row for row in signal.signal_metrics(samples, drums, noise_like(samples.raw, 4))}
    assert rows["clipping"].floor == 0 and rows["voiced"].ceiling == 0
    assert all(row.better == "floor" and row.low is not None and row.floor is not None for row in rows.values())
    assert rows["RMS"].ceiling is None  # noise has the level of what it stands beside
    assert AudioEvaluator.meanings.keys() == rows.keys()
