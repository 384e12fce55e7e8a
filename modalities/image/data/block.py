"""The rows of the block "what I understood" that are about pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from pydantic import JsonValue

from modalities.image.data import decode, geometry, repeats
from modalities.image.data.canvas import Plan
from modalities.image.data.formats import arrays
from modalities.image.data.levels import DEEP, Extent, Range, number
from modalities.image.data.survey import FEW_FILES, PictureInfo, Survey
from modalities.image.options import Data, size_text
from toolkit.data import labels as label_rows
from toolkit.data import understood
from toolkit.data.listing import Listing
from toolkit.data.understood import Row, Understood

FEW_PICTURES = 500
"""Training pictures below which a smaller network is proposed."""
LONGEST_PROPOSED = 48
"""Longer side that is proposed for pictures of another shape than squares: half as much work again as 32 x 32."""
_DARK = 1 / 16
"""Share of the range that a file must reach not to be nearly black."""
_CHANNELS = {1: "grey", 2: "grey and transparency", 3: "RGB", 4: "RGB and transparency"}


class Transparency(NamedTuple):
    """Pictures that are transparent in part."""

    pictures: int
    vanished: Sequence[str]
    """Names of those that cannot be seen on the background."""


def of_folder(
    listing: Listing,
    survey: Survey,
    pictures: Sequence[PictureInfo],
    pixels: np.ndarray,
    test: np.ndarray,
    alike: repeats.Alike,
    transparency: Transparency,
    plan: Plan,
    options: Data,
) -> Understood:
    """Return the block about a folder or shards. pixels: (N, C, H, W) of `pictures`, test: (N,) bool."""
    read = list(dict.fromkeys(one.entry.name for one in pictures))
    lines = [*listing.notes, *_missing_reader(listing)]
    rows = [
        understood.files(read, listing.ignored, decode.names()),
        *label_rows.rows(listing, [one.entry for one in pictures], test),
        sizes([one.size for one in pictures], plan, options),
        *levels([one.extent for one in pictures], [one.name for one in pictures], plan, options),
        _channels(pixels.shape[1], options),
        *_transparency(transparency, len(pictures), pixels.shape[1], options),
        *_several(survey, options),
        *repeats.rows(pixels, test, alike, [one.name for one in pictures]),
        *understood.unusable_rows(listing.rejected),
        *understood.notes(lines),
    ]
    proposed = proposals([one.size for one in pictures], pixels, test, transparency.pictures, options)
    return Understood(rows=tuple(rows), proposals=proposed)


def of_named(pixels: np.ndarray, test: np.ndarray, labels: np.ndarray, names: Sequence[str], own: str) -> Understood:
    """Return the block about a data set that has a name. own: the size of its pictures, "28 x 28"."""
    counts = Counter(labels.tolist())
    each = {name: counts[i] for i, name in enumerate(names)}
    test_count = int(test.sum())
    listed = ", ".join(f"{name} ({count:,})" for name, count in each.items())
    _, channels, height, width = pixels.shape
    size = f"{width} x {height}" + ("" if own == f"{width} x {height}" else f", resized from {own}")
    return Understood(
        rows=(
            Row(name="splits", value=f"{len(test) - test_count:,} train, {test_count:,} held out: the data set's own",
                data={"train": len(test) - test_count, "test": test_count, "by": "data set"}),
            Row(name="labels", value=f"{len(names):,} of the data set: {listed}", data={"counts": each}),
            Row(name="sizes", value=size, data={"size": size_text(width, height)}, change="--size 64"),
            Row(name="channels", value=_CHANNELS[channels], data=channels),
        )
    )  # fmt: skip


def sizes(own: Sequence[geometry.Size], plan: Plan, options: Data) -> Row:
    """Return the row about sizes: what there is, what is cut, and by how much pictures are reduced or enlarged."""
    width, height = plan.size
    target = f"{width} x {height}"
    other = geometry.propose(own)
    other = (2 * width, 2 * height) if other == plan.size else other
    change = f"--size {_size_text(other)}"
    counts = Counter(own).most_common()
    data: dict[str, JsonValue] = {
        "size": size_text(width, height),
        "fit": plan.fit,
        "counts": {f"{w}x{h}": count for (w, h), count in counts[:1000]},
    }
    if len(counts) == 1 and own[0] == plan.size:
        return Row(name="sizes", value=f"all {target}, and kept", data=data | {"cropped": 0.0, "scale": 1.0})
    losses = [geometry.lost_share(one, plan.size, plan.fit) for one in own]
    cut, cropped = fmean(losses), sum(loss >= 0.005 for loss in losses)
    scales = [geometry.scale(one, plan.size, plan.fit) for one in own]
    small, large = min(own, key=lambda one: one[0] * one[1]), max(own, key=lambda one: one[0] * one[1])
    what = f"all {small[0]} x {small[1]}"
    if len(counts) > 1:
        what = f"{small[0]} x {small[1]} to {large[0]} x {large[1]}, mostly {geometry.most_common(own)}"
    middle = f"cropped to their middle ({sum(losses) / max(1, cropped):.0%} of the area is lost)"
    if cropped < len(own):
        middle = f"{cropped:,} are {middle}, the others whole" if cropped else "kept whole"
    how = {"crop": middle, "pad": "kept whole, with borders", "stretch": "stretched"}[plan.fit]
    value = f"{what}: {how} and {_reduction(scales)} to {target}"
    data |= {"cropped": round(cut, 4), "scale": round(fmean(scales), 4), "scales": [min(scales), max(scales)]}
    if plan.fit == "crop" and cropped:
        change += " or --fit pad"
    return Row(name="sizes", value=value, data=data, change=change, warning=cut > 0.25 or fmean(scales) < 0.2)


def levels(extents: Sequence[Extent], names: Sequence[str], plan: Plan, options: Data) -> list[Row]:
    """Return a row about the values of more than 8 bits, and a warning about files that are nearly black by it."""
    rows = []
    for kind in DEEP:
        places = [i for i, one in enumerate(extents) if one.kind == kind]
        if not places:
            continue
        span = plan.ranges[kind]
        low, high = min(extents[i].low for i in places), max(extents[i].high for i in places)
        beside = f" ({len(extents) - len(places):,} others are not touched)" if len(places) < len(extents) else ""
        value = (
            f"{len(places):,} pictures of {kind}, {number(low)} to {number(high)}: {number(span.low)} becomes black, "
            f"{number(span.high)} white{beside}; 256 levels are kept"
        )
        data: dict[str, JsonValue] = {"kind": kind, "found": [low, high], "range": [*span], "pictures": len(places)}
        outside = low < span.low or high > span.high
        if outside:
            value += "; what lies outside is cut"
        change = f"--levels {_tight(low, high, span)}"
        rows.append(
            Row(name="levels", value=value, data=data, change=change, warning=outside and options.range is None)
        )
        limit = span.low + _DARK * (span.high - span.low)
        dark = [names[i] for i in places if extents[i].high < limit]
        if dark and len(dark) < len(places):
            more = f"nothing in them is above {number(limit)}, so they are nearly black beside the others"
            rows += understood.problem("dark pictures", dark, change, more)
    return rows


def proposals(
    own: Sequence[geometry.Size], pixels: np.ndarray, test: np.ndarray, transparent: int, options: Data
) -> dict[str, JsonValue]:
    """Return the options that fit these pictures, where they are not what is taken anyway."""
    values: dict[str, JsonValue] = {}
    learned_size = (pixels.shape[3], pixels.shape[2])
    if options.sides is None and geometry.common(own) != learned_size:
        size = geometry.propose(own, LONGEST_PROPOSED)
        size = geometry.propose(own, geometry.DEFAULT) if size[0] == size[1] else size
        if size != learned_size:
            values["data.size"] = size_text(*size)
    if options.channels == "auto" and 2 * transparent > len(pixels):
        values["data.channels"] = 4 if pixels.shape[1] == 3 else 2
    if len(test) - int(test.sum()) < FEW_PICTURES:
        values["model.preset"] = "tiny"
    return values


def _channels(channels: int, options: Data) -> Row:
    why = {1: "no picture has colour", 3: "at least one picture has colour"}
    value = f"{_CHANNELS[channels]}: " + (why[channels] if options.channels == "auto" else "as said")
    change = f"--channels {4 - channels}" if options.channels == "auto" else "--channels auto"
    return Row(name="channels", value=value, data=channels, change=change)


def _transparency(transparency: Transparency, count: int, channels: int, options: Data) -> list[Row]:
    transparent = transparency.pictures
    if channels in (2, 4):
        value = f"learned; {transparent:,} of {count:,} pictures have some"
        data: JsonValue = {"transparent": transparent, "learned": True}
        return [Row(name="transparency", value=value, data=data, change=f"--channels {channels - 1}")]
    if not transparent:
        return []
    value = f"{transparent:,} of {count:,} pictures are transparent in part, and laid on {options.background}"
    other = "black" if options.background == "white" else "white"
    change = f"--channels {channels + 1} or --background {other}"
    data = {"transparent": transparent, "learned": False, "background": options.background}
    rows = [Row(name="transparency", value=value, data=data, change=change)]
    more = f"they are as {options.background} as what they are laid on, so that nothing is seen"
    return rows + understood.problem("invisible pictures", transparency.vanished, change, more)


def _several(survey: Survey, options: Data) -> list[Row]:
    """Return rows about files that hold several pictures."""
    rows = []
    kept = {name: held for name, held in survey.frames.items() if not name.lower().endswith(arrays.ENDING)}
    if kept:
        every = options.frames == "all"
        what = f"{len(kept):,} files hold {sum(kept.values()):,} pictures: "
        most = [name for name, held in kept.items() if held > decode.MAX_FRAMES]
        cut = f"; {len(most):,} have more than {decode.MAX_FRAMES:,}, of which the first are read" if most else ""
        value = what + ("all are read, each file's in one split" + cut if every else "the first of each is read")
        change = f"--frames {'first' if every else 'all'}"
        data: JsonValue = {"files": len(kept), "pictures": sum(kept.values()), "frames": options.frames}
        rows.append(Row(name="animations", value=value, data=data, change=change))
    if survey.arrays:
        held = sum(survey.frames.values()) - sum(kept.values())
        how = "picture by picture" if survey.arrays < FEW_FILES else "whole files"
        value = f"{survey.arrays:,} arrays of {held:,} pictures along their first axis; {how} in one split or the other"
        rows.append(Row(name="arrays", value=value, data={"files": survey.arrays, "pictures": held}))
    return rows


def _missing_reader(listing: Listing) -> list[str]:
    count = sum(listing.ignored[ending] for ending in decode.HEIC)
    if not count:
        return []
    return [f"{count:,} HEIC files are passed over; with pip install 'diffusion-toolkit[heic]' they are read"]


def _reduction(scales: Sequence[float]) -> str:
    """Return "reduced 3.1 times" of factors on a side, with their extremes where these differ."""
    low, high, mean = min(scales), max(scales), fmean(scales)

    def one(factor: float) -> str:
        if 0.995 < factor < 1.005:
            return "of its own size"
        return f"enlarged {factor:.2g} times" if factor > 1 else f"reduced {1 / factor:.2g} times"

    if high / low <= 1.01:
        return "brought" if one(mean) == "of its own size" else one(mean)
    return f"brought ({one(low)} to {one(high)})"


def _tight(low: float, high: float, span: Range) -> str:
    """Return the found values as an option, or the range where they are one value."""
    return f"{number(low)}:{number(high)}" if low < high else f"{number(span.low)}:{number(span.high)}"


def _size_text(size: geometry.Size) -> str:
    return str(size_text(*size))
