"""Pictures of sounds: what is drawn, where, and how bright."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from modalities.audio.view import picture as preview


def tone(hertz: float, amplitude: float = 1.0, length: int = 8_192, rate: int = 16_000) -> torch.Tensor:
    """A sine, (1, L)."""
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(length) / rate)[None]


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def cell(picture: np.ndarray, row: int, column: int, wide: int, wave: int = 30, title: int = 0) -> np.ndarray:
    """The pixels of one spectrogram, from the layout that preview.py documents."""
    top, left = 8 + title + row * (title + wave + 78 + 6) + wave, 62 + column * (wide + 6)
    return picture[top : top + 78, left : left + wide]


@pytest.mark.parametrize("hertz", [200, 1_000, 3_100, 6_500])
def test_decibels_are_relative_to_a_sine_of_full_scale(hertz: float) -> None:
    raw = torch.stack([tone(hertz, 1e-1), tone(hertz, 1e-2), tone(hertz, 1e-3), tone(hertz, 0)])
    loudness, step = preview.decibels(raw, 16_000, 128)
    assert loudness.shape == (4, 64, 128) and step == 64
    peaks = loudness[..., 10:-10].max((1, 2))
    # a Hann window spreads a sine over three bins, which a wide band adds up: 10 log10 1.5 = 1.8 dB at most
    assert all(level - 1.5 < peak < level + 1.8 for peak, level in zip(peaks, (-20, -40, -60), strict=False))
    assert (loudness[3] == -80).all() and loudness.max() <= 0


def test_decibels_of_a_long_sound_keep_its_mean_power() -> None:
    raw = noise(1, 2, 16_000 * 20)
    loudness, step = preview.decibels(raw, 16_000, 100)
    full, _ = preview.decibels(raw, 16_000, 2_000)
    assert 100 <= loudness.shape[-1] <= 200 and abs(step * loudness.shape[-1] / 320_000 - 1) < 0.01
    assert abs(np.log10(np.mean(10 ** (loudness / 10)) / np.mean(10 ** (full / 10)))) < 0.01
    clicks = torch.zeros(1, 1, 16_000)
    clicks[..., 4_000] = 1
    loudness, step = preview.decibels(clicks, 16_000, 100)
    assert abs(loudness[0].mean(0).argmax() * step - 4_000) <= step


def test_envelope_by_hand() -> None:
    raw = torch.tensor([[[0.0, 0.5, -0.5, 0.25, 2.0, float("nan")], [0.1, 0.1, 0.1, -0.75, 0.0, 0.0]]])
    low, high = preview.envelope(raw, 3)
    assert low.tolist() == [[-0.5, -0.75, 0.0]] and high.tolist() == [[0.5, 1.0, 1.0]]  # each part and one sample more
    low, high = preview.envelope(raw, 100)
    assert low.shape == high.shape == (1, 6)
    ramp = torch.linspace(-1, 1, 1_000)[None, None]
    low, high = preview.envelope(ramp, 37)
    assert np.allclose(low[0, 1:], high[0, :-1]) and low[0, 0] == -1 and high[0, -1] == 1  # no holes


def test_arrangement_of_labels() -> None:
    assert preview.arrange(5, ["b", "a", "b", "a", "b"]) == ([[0, 2, 4], [1, 3]], ["b", "a"])
    assert preview.arrange(5, ["b", "a", "b", "a", "b"], ["a", "b", "c"]) == ([[1, 3], [0, 2, 4]], ["a", "b"])
    assert preview.arrange(10, ["x"] * 10) == ([list(range(8)), [8, 9]], ["x", ""])
    assert preview.arrange(3, ["a", "b", "a"]) == ([[0, 1, 2]], [])  # most labels occur once
    sizes = {count: [len(row) for row in preview.arrange(count, [])[0]] for count in (1, 2, 4, 7, 9, 16, 40)}
    assert sizes == {1: [1], 2: [2], 4: [2, 2], 7: [4, 3], 9: [3, 3, 3], 16: [8, 8], 40: [8] * 5}


def test_a_tone_is_bright_at_its_place_and_silence_is_black() -> None:
    raw = torch.zeros(4, 1, 16_384)
    raw[0, :, :8_192] = tone(1_000)
    raw[1, :, 8_192:] = tone(4_000)
    raw[2, :, -1] = 1e-4
    raw[3] = noise(1, 16_384)
    image = preview.preview(raw, 16_000)
    assert image.mode == "RGB" and image.size == (62 + 2 * 326, 8 + 2 * 114 + 22)
    picture = np.asarray(image).astype(int).sum(2)
    low, high, silent, noisy = (cell(picture, row, column, 320) for row in (0, 1) for column in (0, 1))
    # librosa's mel axis is linear to 1 kHz, which takes as much room as two of the three octaves above
    assert abs(low[:, 80].argmax() - 78 * (1 - 2 / 5)) < 2 and abs(high[:, 240].argmax() - 78 * (1 - 4 / 5)) < 2
    black = silent[40, 160]
    assert black < 10 and (silent[2:-2, 2:300] == black).all()
    assert (low[2:-2, 180:315] == black).all() and (high[2:-2, 5:140] == black).all()
    assert (noisy[2:-2, 2:-2] > black + 100).mean() > 0.95


def test_padding_is_not_drawn() -> None:
    raw = noise(3, 1, 2_000)
    padded = torch.nn.functional.pad(raw, (0, 9_000))
    assert preview.preview(raw, 8_000).tobytes() == preview.preview(padded, 8_000).tobytes()


def test_labels_are_captions_of_rows_or_of_cells() -> None:
    raw = torch.stack([tone(hertz, length=2_048, rate=8_000) for hertz in (250, 800, 1_600, 3_200)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = np.asarray(preview.preview(raw, 8_000, ["$b_1$", "写真", "$b_1$", "写真"], order=["写真", "$b_1$"]))
        cells = np.asarray(preview.preview(raw, 8_000, ["kick", "snare", "tom", "a label far too long for a cell" * 3]))
    plain = np.asarray(preview.preview(raw, 8_000))
    assert rows.shape == plain.shape and cells.shape[0] == plain.shape[0] + 2 * 16
    margin = slice(8, 38), slice(0, 60)
    assert (plain[margin] == 255).all() and (rows[margin] < 128).any()

    def like(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.corrcoef(one.sum(2).ravel(), other.sum(2).ravel())[0, 1])

    # sorted by label: the second sound comes first, then the fourth; titles change no order
    places = [(r, c) for r in (0, 1) for c in (0, 1)]
    first = [cell(plain, r, c, 320) for r, c in places]
    for picture, title, order in ((rows, 0, (1, 3, 0, 2)), (cells, 16, (0, 1, 2, 3))):
        shown = [cell(picture, r, c, 320, title=title) for r, c in places]
        assert all(like(shown[i], first[j]) > 0.95 for i, j in enumerate(order))
        assert max(like(shown[0], first[j]) for j in range(4) if j != order[0]) < 0.5
    assert (cells[8:22, 62 + 326 : 62 + 366] < 128).any() and (cells[8:22, 62 + 300 : 62 + 320] == 255).all()


def test_the_margin_grows_with_the_captions() -> None:
    labels = ["Griffin-Lim", "WWWWWWWWWWWWWWWWWW", "Griffin-Lim", "WWWWWWWWWWWWWWWWWW"]
    picture = np.asarray(preview.preview(noise(4, 1, 512), 8_000, labels))
    left = picture.shape[1] - 2 * 326
    assert 12 * 7 < left < 14 * 14 and (picture[:, :2] == 255).all()  # 14 letters are shown, and whole
    assert (picture[122:152, 2:9] < 128).any() and (picture[122:152, left - 5 : left] == 255).all()
    assert preview.preview(noise(4, 1, 512), 8_000, ["a", "b", "a", "b"]).size[0] == 62 + 2 * 326


def test_strip_shows_the_first_and_the_last_of_at_most_8_moments_and_6_sounds() -> None:
    moments = torch.stack([noise(7, 1, 2_048) * (1 - k / 10) for k in range(11)])
    image = preview.strip(moments, 8_000)
    assert image.size == (62 + 8 * (1160 // 8 + 6), 8 + 16 + 6 * (78 + 6) + 22)
    picture = np.asarray(image).astype(int).sum(2)
    first, last = (cell(picture[16:], 2, column, 145, wave=0) for column in (0, 7))
    assert first[2:-2, 2:-2].mean() > 200 and first[2:-2, -3].mean() > 200 and (last[2:-2, 2:-2] < 10).all()
    assert preview.strip(moments[:1, :1], 8_000).size == (62 + 326, 8 + 16 + 84 + 22)


def test_noise_beyond_all_bounds_can_be_drawn_and_leaves_no_figures() -> None:
    import matplotlib.pyplot

    raw = noise(2, 1, 1_024)
    raw[0, 0, 5:900:7] = float("nan")
    raw[1] *= 1e6
    assert preview.preview(raw, 44_100).size == (62 + 2 * 326, 8 + 114 + 22)
    assert preview.preview(torch.zeros(1, 2, 256), 2_000).size == (62 + 326, 8 + 114 + 22)
    assert matplotlib.pyplot.get_fignums() == []


def test_what_is_not_a_batch_of_sounds_is_refused() -> None:
    for wrong in (torch.zeros(1, 256), torch.zeros(0, 1, 256), torch.zeros(1, 1, 0)):
        with pytest.raises(ValueError, match="needs sounds"):
            preview.preview(wrong, 8_000)
    with pytest.raises(ValueError, match="needs sounds"):
        preview.strip(torch.zeros(2, 1, 256), 8_000)
    with pytest.raises(ValueError, match="1 labels for 2 sounds"):
        preview.preview(torch.zeros(2, 1, 256), 8_000, ["a"])
