"""Drawings lose their paper, and nothing else: what is coloured or solid stays bit for bit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from toolkit.report import media, paper


def sheet(coloured: bool = True) -> PIL.Image.Image:
    """White paper with words, and a spectrogram that is black in parts."""
    image = PIL.Image.new("RGB", (200, 120), "white")
    draw = PIL.ImageDraw.Draw(image)
    draw.text((10, 5), "4 kHz", fill="black")
    if coloured:
        draw.rectangle((20, 30, 179, 109), fill="black")
        draw.rectangle((60, 40, 120, 100), fill=(90, 20, 120))
    return image


def test_paper_is_seen_by_its_edge() -> None:
    assert paper.on_paper(sheet())
    photo = sheet()
    PIL.ImageDraw.Draw(photo).rectangle((0, 0, 40, 4), fill="grey")
    assert not paper.on_paper(photo) and not paper.on_paper(PIL.Image.new("RGB", (9, 9), "black"))


def test_white_goes_ink_turns_grey_and_a_spectrogram_stays() -> None:
    image = sheet()
    bare, pure = paper.without_paper(image)
    before, after = np.asarray(image), np.asarray(bare)
    assert not pure and after.shape == (120, 200, 4)
    white = (before >= paper.WHITE).all(-1)
    assert (after[white, 3] == 0).all()
    inside = np.zeros_like(white)
    inside[30:110, 20:180] = True
    assert (after[inside, 3] == 255).all() and (after[inside, :3] == before[inside]).all()
    words = ~white & ~inside
    assert words.sum() > 20 and (after[words, :3] == paper.GREY_INK).all()
    assert (after[words, 3] == 255 - before[words].astype(int).mean(-1)).all()


def test_a_page_of_words_alone_is_ink_that_a_dark_page_turns_over(tmp_path: Path) -> None:
    bare, pure = paper.without_paper(sheet(coloured=False))
    after = np.asarray(bare)
    assert pure and set(map(tuple, after[after[..., 3] > 0][:, :3])) == {paper.INK}
    # laid on white it is the picture that it was, as far as the ink is no quite black
    white = PIL.Image.new("RGBA", bare.size, "white")
    again = np.asarray(PIL.Image.alpha_composite(white, bare).convert("L")).astype(int)
    assert np.abs(again - np.asarray(sheet(coloured=False).convert("L"))).max() <= 33
    sheet(coloured=False).save(tmp_path / "a.png")
    plain, drawn = media.Album(tmp_path).take(tmp_path / "a.png"), media.Album(tmp_path, drawings=True)
    shown = drawn.take(tmp_path / "a.png")
    assert plain is not None and shown is not None and not plain.ink and shown.ink
    assert 'class="ink"' in shown.tag("x") and "class" not in plain.tag("x")
    plot = media.Album(tmp_path).take(tmp_path / "a.png", plot=True)
    assert plot is not None and plot.uri == shown.uri


def test_pictures_without_paper_and_large_ones(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (40, 40), "teal").save(tmp_path / "photo.png")
    photo = media.Album(tmp_path, drawings=True).take(tmp_path / "photo.png")
    assert photo is not None and photo.uri == media.Album(tmp_path).take(tmp_path / "photo.png").uri  # type: ignore[union-attr]
    noise = np.random.default_rng(0).integers(0, 200, (900, 900, 3), np.uint8)
    large = np.full((1000, 1000, 3), 255, np.uint8)
    large[50:950, 50:950] = noise
    PIL.Image.fromarray(large).save(tmp_path / "large.png")
    shown = media.Album(tmp_path, drawings=True).take(tmp_path / "large.png", 500)
    assert shown is not None and shown.uri.startswith("data:image/webp") and (shown.width, shown.height) == (500, 500)


def test_animations(tmp_path: Path) -> None:
    frames = [sheet(coloured=False), sheet(coloured=False).resize((220, 130)), sheet(coloured=False)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[150, 150, 2000], loop=0)
    cleared = paper.film_without_paper((tmp_path / "a.gif").read_bytes())
    assert cleared is not None and cleared[1]
    with PIL.Image.open(io.BytesIO(cleared[0])) as film:
        assert film.n_frames == 3 and film.mode == "RGBA" and film.info["loop"] == 0  # type: ignore[attr-defined]
        assert np.asarray(film)[0, 0, 3] == 0
    shown = media.Album(tmp_path, drawings=True).take(tmp_path / "a.gif")
    assert shown is not None and shown.ink and shown.uri.startswith("data:image/webp;")
    dark = [PIL.Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    dark[0].save(tmp_path / "b.gif", save_all=True, append_images=dark[1:])
    assert paper.film_without_paper((tmp_path / "b.gif").read_bytes()) is None


def test_an_animation_too_large_to_clear_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "MOST", 1000)
    frames = [sheet(), sheet(coloured=False)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    shown = media.Album(tmp_path, drawings=True).take(tmp_path / "a.gif")
    assert shown is not None and shown.uri.startswith("data:image/gif;")
