"""Draw the strip at the top of the README: digits, drum hits as mel spectrograms, and a text with its holes filled.

    python benchmarks/readme_strip.py runs/drums

Digits are cut from docs/pictures/digits.png, drum hits are sampled from the run (seed 0, as they come), and the text is
the sample that docs/text.md shows. The same run gives the same picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import toolkit
from modalities.audio.view.picture import QUIETEST, decibels

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "docs" / "pictures" / "digits.png"
LEFT, TOP, CELL = 16, 1, 58
"""Left and upper edge of that picture's first cell, and the distance of cells, in pixels."""
COLUMNS, ROWS = 5, 4
LABELS = ("kick", "snare", "tom", "cymbal")
HEIGHT, GAP, MEL_WIDTH, TEXT_WIDTH = ROWS * CELL, 14, 152, 372
TEXT = "What say you to the k{ing} of England? I am a m{an} of th{e} world, and w{ill} not be mov'd by y{our} tears."
LETTERS, FONT_SIZE, LINE = 28, 21, 50
INK, FILLED, GROUND = "#222222", "#c2410c", "white"


def digits() -> Image.Image:
    """The first samples of each label: 0 to 4, 5 to 9, and again."""
    sheet = Image.open(DIGITS).convert("RGB")
    panel = Image.new("RGB", (COLUMNS * CELL, HEIGHT))
    for i in range(COLUMNS * ROWS):
        column, label = divmod(i, 10)
        x, y = LEFT + column * CELL, TOP + label * CELL
        place = (i % COLUMNS * CELL, i // COLUMNS * CELL)
        panel.paste(sheet.crop((x, y, x + CELL, y + CELL)), place)
    return panel


def spectrograms(raw: Tensor, rate: int) -> Image.Image:
    """Mel spectrograms of sounds (4, 1, L), two by two, low frequencies below."""
    side = (HEIGHT - GAP) // 2
    panel = Image.new("RGB", (2 * MEL_WIDTH + GAP, HEIGHT), GROUND)
    loudness, _ = decibels(raw, rate, MEL_WIDTH)
    colours = matplotlib.colormaps["magma"](1 - loudness / QUIETEST)[..., :3]
    for i, one in enumerate((255 * colours).astype(np.uint8)):
        cell = Image.fromarray(one[::-1]).resize((MEL_WIDTH, side), Image.Resampling.BILINEAR)
        ImageDraw.Draw(cell).text((4, 3), LABELS[i], "white", font(13, "DejaVuSans.ttf"))
        panel.paste(cell, (i % 2 * (MEL_WIDTH + GAP), i // 2 * (side + GAP)))
    return panel


def text() -> Image.Image:
    """TEXT in lines, the letters in braces, which the model found, in colour."""
    panel = Image.new("RGB", (TEXT_WIDTH, HEIGHT), GROUND)
    draw, letters = ImageDraw.Draw(panel), font(FONT_SIZE, "DejaVuSansMono.ttf")
    column, line, width = 0, 0, letters.getlength("x")
    for word in TEXT.split(" "):
        length = len(word.strip("{}").replace("{", "").replace("}", ""))
        if column + length > LETTERS:
            column, line = 0, line + 1
        colour = INK
        for letter in word:
            if letter in "{}":
                colour = FILLED if letter == "{" else INK
                continue
            draw.text((column * width, (HEIGHT - 4 * LINE) // 2 + line * LINE), letter, colour, letters)
            column += 1
        column += 1
    return panel


def font(size: int, name: str) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def main() -> None:
    """Draw the strip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of drums")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures" / "strip.png")
    options = parser.parse_args()
    hits = toolkit.load(options.run).sample(len(LABELS), label=LABELS, seed=0)
    panels = [digits(), spectrograms(hits.raw, int(hits.modality.facts.extra["rate"])), text()]
    strip = Image.new("RGB", (sum(p.width for p in panels) + 2 * GAP, HEIGHT), GROUND)
    x = 0
    for panel in panels:
        strip.paste(panel, (x, 0))
        x += panel.width + GAP
    strip.quantize(128).save(options.out, optimize=True)
    print(f"{options.out}: {strip.width} x {strip.height}, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
