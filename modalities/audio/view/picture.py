"""Pictures of many sounds: waveforms above mel spectrograms in a grid, and a strip from noise to sound.

librosa and matplotlib are imported when something is drawn. Figures are made without pyplot, which has global state.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from torch import Tensor

from modalities.audio import mel
from modalities.audio.codec import ends

Array = npt.NDArray[np.float32]

QUIETEST = -80.0
"""Level that is drawn black, in dB; 0 is a sine of full scale."""
COLUMNS = 8
_BANDS = 64
_WIDTH = 1160
"""Pixels that the cells of a row share."""
_CELL = (136, 320)
"""Narrowest and widest cell, in pixels."""
_WAVE, _MEL = 30, 78
"""Heights of waveform and spectrogram, in pixels."""
_LEFT, _TOP, _TITLE, _BOTTOM, _GAP = 62, 8, 16, 22, 6
_DPI, _SIZE = 100, 8
_TICKS = (0, 500, 1000, 2000, 4000, 8000, 16000, 32000)
_CAPTION_LETTERS = 14
_INK, _FAINT, _SOUND = "#222222", "#888888", "#3b528b"


def preview(raw: Tensor, rate: int, labels: Sequence[str] = (), order: Sequence[str] = ()) -> PIL.Image.Image:
    """Return the sounds raw (B, C, L), float in [-1, 1], as a grid of at most 8 columns, RGB.

    labels: one for each sound, or none. Sounds with equal labels share rows, captioned at the left; when most labels
    occur once, each sound has its own caption and the order is kept. order: of the labels, from top to bottom; by
    default as they first occur. All cells are as long as the longest sound, with the same scales: -1..1, and -80..0
    dB below full scale, so that silence looks silent.
    """
    if raw.ndim != 3 or 0 in raw.shape:
        raise ValueError(f"a preview needs sounds (B, C, L), not {tuple(raw.shape)}")
    if labels and len(labels) != len(raw):
        raise ValueError(f"{len(labels)} labels for {len(raw)} sounds")
    rows, captions = arrange(len(raw), labels, order)
    cells = [[(i, labels[i] if labels and not captions else "") for i in row] for row in rows]
    return _draw(raw[..., : int(ends(raw).max())], rate, cells, captions, with_wave=True)


def strip(moments: Tensor, rate: int) -> PIL.Image.Image:
    """Return a row of mel spectrograms for each sound of moments (T, B, C, L), from noise to sound.

    At most 6 sounds and 8 moments are shown, evenly spaced, the first and the last moment always.
    """
    if moments.ndim != 4 or 0 in moments.shape:
        raise ValueError(f"a strip needs sounds (T, B, C, L), not {tuple(moments.shape)}")
    steps, sounds = len(moments), min(6, moments.shape[1])
    columns = np.linspace(0, steps - 1, min(COLUMNS, steps)).round().astype(int).tolist()
    raw = moments[columns, :sounds].flatten(0, 1)
    titles = ["noise", *[""] * (len(columns) - 2), "sound"] if len(columns) > 1 else ["sound"]
    cells = [[(k * sounds + i, titles[k] if i == 0 else "") for k in range(len(columns))] for i in range(sounds)]
    return _draw(raw, rate, cells, [], with_wave=False)


def arrange(
    count: int, labels: Sequence[str], order: Sequence[str] = (), columns: int = COLUMNS
) -> tuple[list[list[int]], list[str]]:
    """Return rows of sound numbers, and a caption for each row; no captions when most labels occur once."""
    names = [name for name in dict.fromkeys([*order, *labels]) if name in set(labels)]
    if not names or 2 * len(names) > count:
        square = math.ceil(math.sqrt(2 * count))  # cells are about twice as wide as high
        full = [c for c in (square, square - 1, square + 1, square + 2, square - 2) if 0 < c <= columns]
        return _wrap(range(count), next((c for c in full if count % c == 0), min(square, columns))), []
    rows: list[list[int]] = []
    captions: list[str] = []
    for name in names:
        wrapped = _wrap([i for i, label in enumerate(labels) if label == name], columns)
        rows += wrapped
        captions += [name] + [""] * (len(wrapped) - 1)
    return rows, captions


def decibels(raw: Tensor, rate: int, columns: int) -> tuple[Array, float]:
    """Return mel power in decibels, and the samples from one frame to the next.

    raw: (B, C, L). Returns (B, bands, frames), QUIETEST..0, low bands first; frames reach to the end of the sound or
    a little beyond, and there are at most 2 * columns of them, about `columns` where that is possible. The bands have
    peak 1 and not area 1, so a sine of full scale is at 0 dB wherever it lies.
    """
    import librosa

    length = raw.shape[-1]
    n_fft = mel.default(rate, _BANDS).n_fft
    hop = min(n_fft // 2, max(1, n_fft // 16, length // columns))
    mono = np.nan_to_num(raw.detach().cpu().float().mean(1).numpy())
    mono = np.pad(mono, [(0, 0), (0, max(0, n_fft - length))])
    power = librosa.feature.melspectrogram(
        y=mono, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=min(_BANDS, n_fft // 4), norm=None, pad_mode="constant"
    )[..., : -(-length // hop)]
    # a minute of sound has more frames than pixels: their mean power is drawn
    share = math.ceil(power.shape[-1] / (2 * columns))
    power = np.pad(power, [(0, 0), (0, 0), (0, -power.shape[-1] % share)], mode="edge")
    power = power.reshape(*power.shape[:2], -1, share).mean(-1)
    loudness = librosa.power_to_db(power, ref=(n_fft / 4) ** 2, amin=1e-12, top_db=None)
    return np.clip(loudness, QUIETEST, 0).astype(np.float32), float(hop * share)


def envelope(raw: Tensor, columns: int) -> tuple[Array, Array]:
    """Return the smallest and largest sample over all channels in at most `columns` equal parts: two (B, columns).

    raw: (B, C, L), clipped to [-1, 1]. Neighbouring parts share a sample, so that the drawn wave has no holes.
    """
    samples = np.nan_to_num(raw.detach().cpu().float().numpy()).clip(-1, 1)
    low, high = samples.min(1), samples.max(1)
    columns = min(columns, low.shape[-1])
    edges = np.linspace(0, low.shape[-1], columns + 1).astype(int)
    parts = [(start, stop + 1) for start, stop in zip(edges, edges[1:])]
    return (
        np.stack([low[:, start:stop].min(1) for start, stop in parts], 1),
        np.stack([high[:, start:stop].max(1) for start, stop in parts], 1),
    )


def _draw(
    raw: Tensor, rate: int, cells: list[list[tuple[int, str]]], captions: list[str], with_wave: bool
) -> PIL.Image.Image:
    """Return the picture of `cells`, rows of (number of the sound, title above it), with `captions` at the left."""
    from librosa.display import specshow
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cell = min(_CELL[1], max(_CELL[0], _WIDTH // max(map(len, cells))))
    wave = _WAVE if with_wave else 0
    heights = [(_TITLE if any(text for _, text in row) else 0) + wave + _MEL + _GAP for row in cells]
    margin = _margin(captions)
    width, height = margin + max(map(len, cells)) * (cell + _GAP), _TOP + sum(heights) + _BOTTOM
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    # all waveforms and words share one system of axes, in pixels from the top left: to make axes takes 10 ms or more
    sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    sheet.set_axis_off()
    write = partial(sheet.text, size=_SIZE, color=_INK, parse_math=False)
    seconds = raw.shape[-1] / rate
    loudness, step = decibels(raw, rate, cell)
    low, high = envelope(raw, cell)
    places = (np.arange(low.shape[1]) + 0.5) * cell / low.shape[1]
    for r, row in enumerate(cells):
        top = _TOP + sum(heights[: r + 1]) - wave - _MEL - _GAP
        middle = top + wave / 2
        if captions:
            write(margin - 6, middle, _fitting(captions[r]), ha="right", va="center")
        for c, (i, text) in enumerate(row):
            left = margin + c * (cell + _GAP)
            write(left, top - 4, _fitting(text, cell // 7))
            if with_wave:
                sheet.plot([left, left + cell], [middle, middle], color=_FAINT, linewidth=0.4, solid_capstyle="butt")
                below, above = (middle - (_WAVE / 2 - 1) * edge[i] for edge in (low, high))
                sheet.fill_between(left + places, below, above, color=_SOUND, linewidth=0.5)
            bottom = 1 - (top + wave + _MEL) / height
            axes = figure.add_axes((left / width, bottom, cell / width, _MEL / height))
            scale: dict[str, Any] = {
                "sr": rate,
                "hop_length": step,
                "x_axis": "s",
                "y_axis": "mel",
                "vmin": QUIETEST,
                "vmax": 0,
            }
            specshow(loudness[i], ax=axes, cmap="magma", **scale)
            _axis(axes, rate, seconds, left=c == 0, bottom=r + 1 == len(cells))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a label in a script that the font lacks is drawn as boxes
        canvas.draw()
    return PIL.Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _axis(axes: Any, rate: int, seconds: float, left: bool, bottom: bool) -> None:
    """Label hertz at the left edge of the picture and seconds at its bottom, but nothing between cells."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

    axes.set(xlabel="", ylabel="", xlim=(0, seconds), facecolor="black")
    hertz = [tick for tick in _TICKS if tick < 0.49 * rate]
    names = [f"{tick} Hz" if tick < 1000 else f"{tick // 1000} kHz" for tick in hertz]
    axes.yaxis.set_major_locator(FixedLocator(hertz))
    axes.yaxis.set_major_formatter(FixedFormatter(names))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(0, seconds)
    # one at the right end would run into the first of the next cell
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if 0 <= tick < 0.9 * seconds]))
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.tick_params(
        length=2, width=0.5, pad=2, labelsize=6.5, color=_FAINT, labelcolor=_INK, left=left, labelleft=left,
        bottom=bottom, labelbottom=bottom,
    )  # fmt: skip
    axes.spines[:].set_visible(False)


def _margin(captions: list[str]) -> int:
    """Return the pixels at the left that the ticks and the captions need."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer, font = RendererAgg(1, 1, _DPI), FontProperties(size=_SIZE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        widths = [renderer.get_text_width_height_descent(_fitting(text), font, ismath=False)[0] for text in captions]
    return max([_LEFT, *(math.ceil(width) + 10 for width in widths)])


def _wrap(items: Sequence[int], columns: int) -> list[list[int]]:
    return [list(items[i : i + columns]) for i in range(0, len(items), columns)]


def _fitting(caption: str, letters: int = _CAPTION_LETTERS) -> str:
    return caption if len(caption) <= letters else caption[: max(1, letters - 2)] + ".."
