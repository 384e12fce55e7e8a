"""Drawings on white paper, such as plots, spectrograms and pages of text, made to stand on a page of any colour.

White becomes transparent, and so does ink as far as it is light; what is coloured or solid, a spectrogram or a
photograph, stays. Not for photographs alone: what is white in those is part of them.
"""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import PIL.ImageSequence

INK = (28, 29, 33)
"""The page's own, where all is ink: in dark mode such a picture is turned over."""
GREY_INK = (122, 124, 132)
"""Beside colours, which cannot be turned over: about 4 times as bright or dark as the page, in either mode."""
WHITE, GREY = 250, 24
"""Least channel of white paper; most difference between the channels of grey ink."""
EDGE = 0.98
"""Share of the outermost pixels that is white on a sheet of paper."""
SOLID, SIDE = 0.5, 24
"""A part that fills more of its box, and whose box is at least so many pixels wide and high, is no ink."""
MOST = 1 << 24
"""Pixels of all frames together."""


def on_paper(image: PIL.Image.Image) -> bool:
    """Return whether a picture has a white edge all round."""
    rgb = np.asarray(image.convert("RGB"))
    edge = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    return bool((edge >= WHITE).all(-1).mean() >= EDGE)


def without_paper(image: PIL.Image.Image) -> tuple[PIL.Image.Image, bool]:
    """Return a picture on white paper as RGBA without the paper, and whether all that is left is ink."""
    from scipy import ndimage

    rgb = np.asarray(image.convert("RGB")).astype(np.int16)
    drawn = (rgb < WHITE).any(-1)
    parts, _ = ndimage.label(drawn, np.ones((3, 3)))
    solid = np.zeros(parts.max() + 1, bool)
    filled = np.bincount(parts.ravel())
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        height, width = (side.stop - side.start for side in box)
        solid[number] = min(height, width) >= SIDE and filled[number] > SOLID * height * width
    ink = drawn & ~solid[parts] & (rgb.max(-1) - rgb.min(-1) <= GREY)
    pure = bool((ink == drawn).all())
    alpha = np.where(ink, 255 - rgb.mean(-1), 255 * drawn)
    colour = np.where(ink[..., None], np.array(INK if pure else GREY_INK), rgb)
    return PIL.Image.fromarray(np.dstack([colour, alpha]).astype(np.uint8), "RGBA"), pure


def film_without_paper(data: bytes) -> tuple[bytes, bool] | None:
    """Return an animation on white paper as an animated WebP without it, and whether all that is left is ink.

    None where there is no such paper, or too much of it.
    """
    with PIL.Image.open(io.BytesIO(data)) as film:
        count = getattr(film, "n_frames", 1)
        if count * film.width * film.height > MOST or not on_paper(film):
            return None
        frames, times = [], []
        for frame in PIL.ImageSequence.Iterator(film):
            times.append(int(frame.info.get("duration", 100)))
            frames.append(without_paper(frame))
        loop = film.info.get("loop", 0)
    # a frame may be larger than those before it
    size = (max(image.width for image, _ in frames), max(image.height for image, _ in frames))
    sheets = [PIL.Image.new("RGBA", size) for _ in frames]
    for sheet, (image, _) in zip(sheets, frames, strict=True):
        sheet.paste(image)
    buffer = io.BytesIO()
    sheets[0].save(buffer, "WEBP", save_all=True, append_images=sheets[1:], duration=times, loop=loop)
    return buffer.getvalue(), all(pure for _, pure in frames)
