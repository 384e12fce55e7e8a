"""Decoded pictures on disk: one uint8 array (N, C, H, W), memory-mapped, so that a second start is instant.

    CACHE/image/<key>/pixels.npy  labels.npy  test.npy  names.json  about.json

toolkit.data.store makes the folder whole or not at all. about.json holds the block "what I understood" as well.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from modalities.image.data import block, copies, decode, geometry, repeats
from modalities.image.data.canvas import Picture, Plan
from modalities.image.data.files import open_entry
from modalities.image.data.formats import arrays
from modalities.image.data.levels import Kind, Range
from modalities.image.data.survey import PictureInfo, Survey, split_names
from modalities.image.options import Data
from toolkit.data import store
from toolkit.data.dataset import check_identity, identity_of
from toolkit.data.listing import Entry, Listing, label_numbers
from toolkit.data.selection import has_splits, test_mask
from toolkit.data.understood import Understood

VERSION = 3
NOTIFY_EVERY = 5_000
_CHUNK = 8
_PART = 256
"""Most pictures of one array that are decoded together."""
_NOUN = "decoded pictures"


@dataclass(frozen=True)
class Corpus:
    """All usable pictures of a source."""

    pixels: np.ndarray
    """(N, C, H, W) uint8, perhaps memory-mapped."""
    labels: np.ndarray
    """(N,) int64; all zero when `names` is ()."""
    test: np.ndarray
    """(N,) bool: True for pictures of the test split."""
    names: tuple[str, ...]
    rejected: tuple[str, ...]
    mean: float
    std: float
    """Mean and deviation of pixels / 127.5 - 1 over the training pictures; std is 1 when all pixels are equal."""
    identity: str = ""
    understood: Understood = field(default_factory=Understood)
    ranges: dict[Kind, Range] = field(default_factory=dict)
    """Values that became black and white, of files of more than 8 bits."""


def load(folder: Path) -> Corpus | None:
    """Return the corpus in `folder`; None when there is none or it is damaged."""
    if not store.whole(folder):
        return None
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        test = np.load(folder / "test.npy", allow_pickle=False)
        if not (pixels.ndim == 4 and pixels.dtype == np.uint8 and labels.shape == test.shape == pixels.shape[:1]):
            return None
        names, rejected = (tuple(map(str, about[name])) for name in ("names", "rejected"))
        understood = Understood.model_validate(about["understood"])
        ranges = {kind: Range(*map(float, range)) for kind, range in about["ranges"].items()}
        mean, std, identity = float(about["mean"]), float(about["std"]), check_identity(about["identity"])
        numbered = labels.dtype == np.int64 and test.dtype == bool and len(pixels) > 0
        if not (numbered and labels.min() >= 0 and labels.max() == max(0, len(names) - 1)):
            return None
        if not (abs(mean) < math.inf and 0 < std < math.inf):
            return None
        return Corpus(pixels, labels, test, names, rejected, mean, std, identity, understood, ranges)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def build(
    listing: Listing, survey: Survey, plan: Plan, options: Data, folder: Path, notify: Callable[[str], None]
) -> Corpus | None:
    """Decode all pictures of a survey into `folder`, and return the corpus; None when none is readable.

    The channels of `plan` are those that are written first; with options.channels = "auto" they become grey when no
    picture has colour. Unreadable files are added to listing.rejected. Raises StorageError when the cache cannot be
    written.
    """

    def fill(staging: Path) -> bool:
        pictures, seen_through = _decode_all(listing, survey.pictures, plan, options, staging, notify)
        if not pictures:
            return False
        final = plan
        if options.sides is None and (size := geometry.default([one.size for one in pictures])) != plan.size:
            # a damaged file had another size than all that can be read
            final = replace(plan, size=size)
            pictures, seen_through = _decode_all(listing, pictures, final, options, staging, notify)
        _describe(pictures, seen_through, listing, survey, final, options, staging)
        return True

    auto = 2 if options.channels == "auto" else 1
    return store.build_and_load(
        folder, load, len(survey.pictures) * plan.channels * plan.size[0] * plan.size[1] * auto, fill, _NOUN
    )


def moments(pixels: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of pixels / 127.5 - 1 over the rows that are not `test`, exact to float64."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(pixels), 1024):
        rows = pixels[start : start + 1024][~test[start : start + 1024]]
        counts += np.bincount(rows.reshape(-1), minlength=256)
    values = np.arange(256) / 127.5 - 1
    share = counts / max(int(counts.sum()), 1)
    mean = float(share @ values)
    if np.count_nonzero(counts) < 2:
        return mean, 1.0
    return mean, float(np.sqrt(share @ (values - mean) ** 2))


Job = tuple[Entry, list[PictureInfo]]


def _decode_all(
    listing: Listing,
    wanted: Sequence[PictureInfo],
    plan: Plan,
    options: Data,
    staging: Path,
    notify: Callable[[str], None],
) -> tuple[list[PictureInfo], block.Transparency]:
    """Write pixels.npy; return the pictures that are in it, in its order, and how transparent they are.

    The others are rejected.
    """
    pictures: list[PictureInfo] = []
    coloured, notes, transparent = options.channels != "auto", 0, 0
    vanished: list[str] = []
    (width, height), channels = plan.size, plan.channels
    work = store.in_order(lambda job: _decode(job, plan), list(_jobs(wanted)), _CHUNK)
    with (staging / "pixels.npy").open("wb") as file, decode.quiet(), contextlib.closing(work) as decoded:
        store.header(file, (0, channels, height, width), "|u1")
        for (_, part), results in decoded:
            for one, result in zip(part, results, strict=True):
                if isinstance(result, str):
                    listing.reject(one.name, result)
                    continue
                pictures.append(one)
                file.write(result.pixels.data)
                transparent += result.transparent
                vanished += [one.name] if result.vanished else []
                coloured = coloured or decode.has_colour(result.pixels)
            if len(pictures) // NOTIFY_EVERY > notes:
                notes = len(pictures) // NOTIFY_EVERY
                notify(f"read {notes * NOTIFY_EVERY:,} of {len(wanted):,} pictures")
        file.seek(0)
        store.header(file, (len(pictures), channels, height, width), "|u1")  # numpy leaves space for a longer shape
        store.sync(file)
    if pictures and not coloured:
        _collapse(staging, len(pictures), plan)
    return pictures, block.Transparency(transparent, vanished)


def _jobs(pictures: Sequence[PictureInfo]) -> Iterator[Job]:
    """Yield each file once, with its pictures; large arrays in parts."""
    start = 0
    while start < len(pictures):
        entry, end = pictures[start].entry, start + 1
        most = start + (_PART if entry.name.lower().endswith(arrays.ENDING) else decode.MAX_FRAMES)
        while end < min(most, len(pictures)) and pictures[end].entry is entry:
            end += 1
        yield entry, list(pictures[start:end])
        start = end


def _decode(job: Job, plan: Plan) -> list[Picture | str]:
    entry, pictures = job
    numbers = [one.number for one in pictures]
    try:
        with open_entry(entry) as stream:
            if entry.name.lower().endswith(arrays.ENDING):
                return list(decode.array_pictures(entry, stream, plan, numbers))
            return list(decode.pictures(stream, plan, numbers))
    except Exception as error:  # a file that is gone since it was listed
        return [decode.reason(error)] * len(pictures)


def _describe(
    pictures: list[PictureInfo],
    transparency: block.Transparency,
    listing: Listing,
    survey: Survey,
    plan: Plan,
    options: Data,
    staging: Path,
) -> None:
    """Write labels.npy, test.npy, names.json and about.json."""
    entries = [one.entry for one in pictures]
    names, labels = label_numbers(entries, listing.label_order)
    pixels = np.load(staging / "pixels.npy", mmap_mode="r", allow_pickle=False)
    first = copies.exact(pixels)
    groups = None if has_splits(entries) else copies.groups(pixels, first)
    test = _held_out(pictures, survey, groups)
    mean, std = moments(pixels, test)
    understood = block.of_folder(
        listing, survey, pictures, pixels, test, repeats.Alike(first, groups), transparency, plan, options
    )
    about = {
        "names": names,
        "rejected": sorted(listing.rejected),
        "mean": mean,
        "std": std,
        "identity": identity_of(names, pixels, labels, test),
        "ranges": plan.ranges,
        "understood": understood.model_dump(mode="json"),
    }
    store.save_array(staging / "labels.npy", labels)
    store.save_array(staging / "test.npy", test)
    store.save_json(staging / "names.json", [one.name for one in pictures])
    store.save_json(staging / "about.json", about)


def _held_out(pictures: Sequence[PictureInfo], survey: Survey, groups: np.ndarray | None) -> np.ndarray:
    """Return which pictures are for testing, (N,) bool; the frames of one file all are or none.

    groups: (N,), of pictures that are alike and belong into one split, or None.
    """
    names = split_names(survey, pictures)
    files = {name: replace(one.entry, name=name) for name, one in zip(names, pictures, strict=True)}
    number = {name: i for i, name in enumerate(files)}
    place = np.array([number[name] for name in names])
    together = None if groups is None else copies.join_groups(place, groups)
    return test_mask(list(files.values()), together)[place]


def _collapse(staging: Path, count: int, plan: Plan) -> None:
    """Rewrite pixels.npy from RGB to grey."""
    width, height = plan.size
    rgb = np.load(staging / "pixels.npy", mmap_mode="r", allow_pickle=False)
    with (staging / "grey.npy").open("wb") as file:
        store.header(file, (count, 1, height, width), "|u1")
        for start in range(0, count, 1024):
            file.write(decode.to_grey(rgb[start : start + 1024]).tobytes())
        store.sync(file)
    del rgb
    (staging / "grey.npy").replace(staging / "pixels.npy")
