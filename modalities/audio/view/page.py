"""One HTML page to listen to: generated sounds beside real ones, each with its picture. Nothing is fetched, ever.

Sounds and pictures are data URIs, and the page's own policy forbids every request. The only script plays the sounds
of a group one after another; it and the style are allowed by their hash, and the page works without the script.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from torch import Tensor

from modalities.audio.codec import ends
from modalities.audio.view.files import to_bytes
from modalities.audio.view.picture import QUIETEST, decibels, envelope
from toolkit.modality import Examples
from toolkit.standalone import document, uri
from toolkit.view import Shown

_WIDTH, _WAVE, _MEL = 220, 34, 80
"""Pixels: of a picture, and the heights of its two parts."""
_LEVELS = 33
"""Colours of a spectrogram, 2.5 dB each: half the size of 256, and the same to the eye."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --faint: #6b6b70; --paper: #fafafa; --card: #fff; --line: #ddd;
  --made: #b5541c; --real: #1f7a5c }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --faint: #a0a0a8; --paper: #16161a; --card: #222228;
  --line: #3a3a42; --made: #f09a62; --real: #5cc9a0 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1480px; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 1.6rem 0 .5rem; overflow-wrap: anywhere }
h3 { font-size: .85rem; margin: 0; display: flex; align-items: center; gap: .6rem; min-height: 1.9rem }
p { margin: 0 0 1rem; color: var(--faint); max-width: 90ch }
.pair { display: grid; gap: .8rem }
@media (min-width: 1000px) { .pair.both { grid-template-columns: minmax(0, 2fr) minmax(0, 1fr) } }
.group { border-left: 4px solid; padding-left: .7rem; min-width: 0 }
.made { border-color: var(--made) } .made h3 { color: var(--made) }
.real { border-color: var(--real) } .real h3 { color: var(--real) }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: .7rem; margin-top: .3rem }
@media (max-width: 500px) { .cards { grid-template-columns: repeat(2, minmax(0, 1fr)) } }
figure { margin: 0; max-width: 280px; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden }
figure.now { outline: 3px solid var(--made) }
img { display: block; width: 100%; height: auto; background: #000; cursor: pointer }
audio { display: block; width: 100%; height: 36px; margin-top: .3rem }
figcaption { padding: .1rem .6rem .35rem; font-size: .8rem; color: var(--faint) }
button { font: inherit; font-weight: normal; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--line); border-radius: 99px; padding: .1rem .8rem }
"""

_SCRIPT = """
const buttons = document.querySelectorAll("button");
let queue = [], current = null;
const show = (audio, on) => {
  audio.closest("figure").classList.toggle("now", on);
  for (const button of buttons) button.textContent = button.closest(".group").contains(current) ? "stop" : "play all";
};
const start = audio => {
  const before = current;
  current = audio;
  if (before && before !== audio) before.pause();
  audio.currentTime = 0;
  audio.play().catch(() => {});
};
const next = () => { if (queue.length) start(queue.shift()); else current = null; };
for (const audio of document.querySelectorAll("audio")) {
  audio.addEventListener("play", () => {
    const before = current;
    if (audio !== before) { queue = []; current = audio; if (before) before.pause(); }
    show(audio, true);
  });
  audio.addEventListener("pause", () => {
    if (audio === current && !audio.ended) { queue = []; current = null; }
    show(audio, false);
  });
  audio.addEventListener("ended", () => { if (audio === current) next(); show(audio, false); });
  audio.closest("figure").querySelector("img").addEventListener("click", () => { queue = []; start(audio); });
}
for (const element of document.querySelectorAll("[hidden]")) element.hidden = false;
for (const button of buttons) {
  button.addEventListener("click", () => {
    const group = button.closest(".group");
    if (group.contains(current)) current.pause();
    else { queue = [...group.querySelectorAll("audio")]; next(); }
  });
}
"""


@dataclass(frozen=True)
class _Clip:
    """One sound on the page, with its kind, number, label and picture."""

    kind: str
    """generated or real"""
    number: int
    """Number in its batch, from 0; file names of generated sounds contain it."""
    label: str
    sound: Tensor
    """(C, L), without the zeros at its end."""
    picture: bytes
    """PNG"""


def page(
    raw: Tensor,
    labels: Sequence[str],
    rate: int,
    real: Examples | None = None,
    names: Sequence[str] = (),
    title: str = "Generated sounds",
) -> str:
    """Return a page of sounds raw (B, C, L) float in [-1, 1], in sections by label beside real ones of that label.

    labels: one for each sound, or none. names: names of the numbers in `real.cond["label"]`, and the order of the
    sections; a number beyond them is no label.
    """
    if raw.ndim != 3 or 0 in raw.shape:
        raise ValueError(f"a page needs sounds (B, C, L), not {tuple(raw.shape)}")
    if labels and len(labels) != len(raw):
        raise ValueError(f"{len(labels)} labels for {len(raw)} sounds")
    real_raw = raw[:0] if real is None else real.raw
    numbers = real.cond["label"].tolist() if labels and real is not None and "label" in real.cond else []
    real_labels = [names[i] if i < len(names) else "" for i in numbers] or [""] * len(real_raw)
    # one scale of time for all, so that lengths can be compared
    longest = max(int(ends(part).max()) for part in (raw, real_raw) if len(part))
    clips = _clips("generated", raw, labels or [""] * len(raw), rate, longest)
    clips += _clips("real", real_raw, real_labels, rate, longest)
    sections = [name for name in dict.fromkeys([*names, *labels, ""]) if any(clip.label == name for clip in clips)]
    body = "\n".join(_section(name, [clip for clip in clips if clip.label == name], rate) for name in sections)
    count = f"{len(raw)} generated" + (f" and {len(real_raw)} real" if len(real_raw) else "")
    channels = "mono" if raw.shape[1] == 1 else "stereo"
    header = f"""<h1>{html.escape(title)}</h1>
<p>{count} sounds, {rate:,} samples a second, {channels}. Each picture is {longest / rate:.2f}&nbsp;s wide: the
waveform above, and the mel spectrogram below, from 0 to {rate / 2000:g}&nbsp;kHz and from {-QUIETEST:g}&nbsp;dB below
full scale (black) to full scale. <span hidden>Click a picture to hear it.</span></p>
"""
    return document(title, _STYLE, header + body, _SCRIPT)


def shown(raw: Tensor, rate: int) -> list[Shown]:
    """Return each of raw sounds (B, C, L) as a picture and a WAV file without the zeros at its end."""
    clips = _clips("", raw, [""] * len(raw), rate, raw.shape[-1])
    return [Shown(clip.picture, to_bytes(clip.sound, rate)) for clip in clips]


def _clips(kind: str, raw: Tensor, labels: Sequence[str], rate: int, longest: int) -> list[_Clip]:
    if not len(raw):
        return []
    padded = raw.new_zeros(*raw.shape[:2], longest)
    padded[..., : raw.shape[-1]] = raw[..., :longest]
    pictures, lengths = _pictures(padded, rate), ends(raw).tolist()
    return [_Clip(kind, i, labels[i], raw[i, :, :n], pictures[i]) for i, n in enumerate(lengths)]


def _pictures(raw: Tensor, rate: int) -> list[bytes]:
    """Return a PNG for each of raw (B, C, L), from arrays of palette indices: 50 times faster than a figure each."""
    from matplotlib import colormaps

    palette = colormaps["magma"](np.linspace(0, 1, _LEVELS), bytes=True)[:, :3]
    loudness, step = decibels(raw, rate, _WIDTH // 2)
    box = (0, 0, min(loudness.shape[2], raw.shape[-1] / step), loudness.shape[1])
    low, high = envelope(raw, _WIDTH)
    columns = np.arange(_WIDTH) * low.shape[1] // _WIDTH
    height = np.linspace(1, -1, _WAVE, dtype=np.float32)[:, None]
    pictures = []
    for i in range(len(raw)):
        wave = (height >= low[i, columns] - 1 / _WAVE) & (height <= high[i, columns] + 1 / _WAVE)
        grey = PIL.Image.fromarray(np.round(255 * (1 - loudness[i, ::-1] / QUIETEST)).astype(np.uint8))
        level = np.asarray(grey.resize((_WIDTH, _MEL), PIL.Image.Resampling.BILINEAR, box)).astype(np.uint16)
        indices = np.concatenate([wave * (3 * _LEVELS // 4), (level * (_LEVELS - 1) + 127) // 255]).astype(np.uint8)
        image = PIL.Image.fromarray(indices)
        image.putpalette(palette.tobytes())
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=9)
        pictures.append(buffer.getvalue())
    return pictures


def _section(name: str, clips: list[_Clip], rate: int) -> str:
    heading = f"<h2>{html.escape(name)}</h2>\n" if name else ""
    kinds = [kind for kind in ("generated", "real") if any(clip.kind == kind for clip in clips)]
    groups = "\n".join(_group(kind, [clip for clip in clips if clip.kind == kind], rate) for kind in kinds)
    return f'<section>\n{heading}<div class="pair{" both" if len(kinds) == 2 else ""}">\n{groups}\n</div>\n</section>'


def _group(kind: str, clips: list[_Clip], rate: int) -> str:
    cards = "\n".join(_card(clip, rate) for clip in clips)
    name = "made" if kind == "generated" else "real"
    play = '<button type="button" hidden>play all</button>' if len(clips) > 1 else ""
    return f'<div class="group {name}">\n<h3>{kind} {play}</h3>\n<div class="cards">\n{cards}\n</div>\n</div>'


def _card(clip: _Clip, rate: int) -> str:
    sounds = {"wav": to_bytes(clip.sound, rate), "flac": to_bytes(clip.sound, rate, "flac")}
    best = min(sounds, key=lambda name: len(sounds[name]))
    seconds = f"{clip.sound.shape[-1] / rate:.2f} s"
    title = html.escape(" ".join(word for word in (clip.kind, clip.label, str(clip.number)) if word))
    return (
        f'<figure><img src="{uri("image/png", clip.picture)}" width="{_WIDTH}" height="{_WAVE + _MEL}" '
        f'alt="Waveform and mel spectrogram of {title}, {seconds}">'
        f'<audio controls preload="none" aria-label="{title}" src="{uri(f"audio/{best}", sounds[best])}"></audio>'
        f"<figcaption>{title} · {seconds}</figcaption></figure>"
    )
