"""Named data sets: the bundled drums, and spoken digits (fsdd) below TOOLKIT_DATA."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from modalities.audio.data.decode import EXTENSIONS
from toolkit import paths
from toolkit.console import printable
from toolkit.data import download, store
from toolkit.data import labels as folder
from toolkit.data.listing import Listing
from toolkit.errors import DataError

NAMES = ("drums", "fsdd")
_REPOSITORY = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs"
FSDD_SOURCES = (f"{_REPOSITORY}/tags/v1.0.10.zip", f"{_REPOSITORY}/heads/master.zip")
FSDD_SHA256 = "997e451901d158bdf09dde66b240f3f19310fdbf4d9c056ebd806254df4a672c"
"""`download.sha256_of` the 3,000 recordings; the bytes of the archives are the host's affair."""
FSDD_PATTERN = "{label}_{}_{}"
FSDD_TEST = 5
"""Recordings 0 to 4 of each digit and speaker are the official test set."""
MAX_ARCHIVE_BYTES = 100 * 2**20
MAX_FILE_BYTES = 2**20
MAX_FILES = 10_000
_FSDD_NAME = re.compile(r"[0-9]_[a-z]{1,40}_([0-9]{1,4})\.wav")


@dataclass(frozen=True)
class Source:
    """A folder of sounds, and its own defaults."""

    path: Path
    listing: Listing
    rate: int | None = None
    """Default rate in Hz."""
    seconds: float | None = None
    """Default duration of an example."""
    clips: str = "auto"
    """Default of the option clips."""


def find(name: str, labels: str, splits: str, notify: Callable[[str], None]) -> Source:
    """Return the data set `name`, one of NAMES. Raises UsageError, and DataError when it cannot be downloaded."""
    if name == "drums":
        path = paths.shipped_folder("assets") / "drums"
        return Source(path, folder.scan(path, EXTENSIONS, "sounds", labels, splits))
    path = paths.data_root() / "fsdd" / "recordings"
    if not path.is_dir():
        _download(path, notify)
    elif not _is_known(path):
        notify(f"{path} is not the fsdd that would be downloaded; figures of recipes may not come out with it")
    by = FSDD_PATTERN if labels in ("auto", "folders") else labels
    listing = folder.scan(path, EXTENSIONS, "recordings", by, splits)
    listing.splits_by = "its own"
    entries, listing.entries = listing.entries, []
    for entry in entries:
        if (match := _FSDD_NAME.fullmatch(entry.name)) is None:
            listing.reject(entry.name, "not called DIGIT_SPEAKER_NUMBER.wav")
        else:
            listing.entries.append(replace(entry, split="test" if int(match[1]) < FSDD_TEST else "train"))
    return Source(path, listing, rate=8_000, seconds=1.0, clips="first")


def _is_known(path: Path) -> bool:
    """Return True where a folder has the recordings of FSDD_SHA256 and no others. It takes 0.1 s."""
    try:
        files = [(each.name, each.read_bytes()) for each in path.iterdir() if _FSDD_NAME.fullmatch(each.name)]
    except OSError:  # the listing says which file
        return False
    return download.sha256_of(files) == FSDD_SHA256


def _download(path: Path, notify: Callable[[str], None]) -> None:
    """Fetch the recordings into the folder `path`. Raises DataError, StorageError."""
    notify(f"downloading fsdd (about 16 MB) to {path}")

    def fill(staging: Path) -> bool:
        archive = staging / "archive.zip"
        try:
            recordings = download.fetch(FSDD_SOURCES, MAX_ARCHIVE_BYTES, archive, _recordings, notify)
        except download.Refused as error:
            raise DataError(
                f"fsdd is not in {path} and could not be downloaded ({printable(str(error))[:300]}); "
                "put its recordings there, or set TOOLKIT_DATA to a folder that has fsdd/recordings"
            ) from None
        archive.unlink()
        for name, wave in recordings.items():
            (staging / name).write_bytes(wave)
        return not path.exists()

    store.build(path, 0, fill, "the recordings of fsdd", "set TOOLKIT_DATA", os.path.isdir)


def _recordings(archive: Path) -> dict[str, bytes]:
    """Return the recordings in a zip by name, which are those of FSDD_SHA256. Raises download.Refused."""
    try:
        recordings = dict(_members(archive))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise download.Refused(" ".join(str(error).split()) or type(error).__name__) from None
    download.same(download.sha256_of(recordings.items()), FSDD_SHA256)
    return recordings


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each .../recordings/DIGIT_SPEAKER_NUMBER.wav in a zip, whose paths are not used."""
    count = 0
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            pure = PurePosixPath(member.filename)
            if member.is_dir() or pure.parent.name != "recordings" or not _FSDD_NAME.fullmatch(pure.name):
                continue
            with file.open(member) as stream:
                content = stream.read(MAX_FILE_BYTES + 1)  # sizes in the archive's headers are not trusted
            count += 1
            if len(content) > MAX_FILE_BYTES or count > MAX_FILES:
                raise ValueError(f"{pure.name} is larger than any recording, or there are too many of them")
            yield pure.name, content
    if not count:
        raise ValueError("no recordings in the archive")
