"""Named data sets: the bundled drums, and spoken digits (fsdd) below TOOLKIT_DATA."""

from __future__ import annotations

import io
import os
import re
import socket
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from modalities.audio.data.decode import EXTENSIONS
from toolkit import paths
from toolkit.console import printable
from toolkit.data import labels as folder
from toolkit.data import store
from toolkit.data.listing import Listing
from toolkit.errors import DataError

NAMES = ("drums", "fsdd")
FSDD_URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip"
FSDD_PATTERN = "{label}_{}_{}"
FSDD_TEST = 5
"""Recordings 0 to 4 of each digit and speaker are the official test set."""
MAX_ARCHIVE_BYTES = 100 * 2**20
MAX_FILE_BYTES = 2**20
MAX_FILES = 10_000
_NOTIFY_BYTES = 4 * 2**20
_TIMEOUT_SECONDS = 30.0
_MAX_SECONDS = 900.0
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
        path = paths.shipped("assets") / "drums"
        return Source(path, folder.scan(path, EXTENSIONS, "sounds", labels, splits))
    path = paths.data_root() / "fsdd" / "recordings"
    if not path.is_dir():
        _download(path, notify)
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


def _download(path: Path, notify: Callable[[str], None]) -> None:
    """Fetch the recordings into the folder `path`. Raises DataError, StorageError."""
    notify(f"downloading fsdd (about 16 MB) to {path}")

    def fill(staging: Path) -> bool:
        try:
            content = _fetch(FSDD_URL, notify)
            recordings = dict(_members(content))
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            why = printable(" ".join(str(error).split()))[:160] or type(error).__name__
            raise DataError(
                f"fsdd is not in {path} and could not be downloaded ({why}); "
                "put its recordings there, or set TOOLKIT_DATA to a folder that has fsdd/recordings"
            ) from None
        for name, wave in recordings.items():
            (staging / name).write_bytes(wave)
        return not path.exists()

    store.build(path, 0, fill, "the recordings of fsdd", "set TOOLKIT_DATA", os.path.isdir)


def _fetch(url: str, notify: Callable[[str], None]) -> bytes:
    """Return the file at `url`, which must be small and arrive in time. Raises OSError, ValueError."""
    content = io.BytesIO()
    end = time.monotonic() + _MAX_SECONDS
    last = 0  # bytes at the last line for the user
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        while part := response.read(1 << 16):
            content.write(part)
            if content.tell() > MAX_ARCHIVE_BYTES:
                raise ValueError(f"more than {MAX_ARCHIVE_BYTES // 2**20} MB were sent")
            if time.monotonic() > end:
                raise socket.timeout(f"not done after {_MAX_SECONDS / 60:.0f} minutes")  # noqa: UP041
            if content.tell() >= last + _NOTIFY_BYTES:
                last = content.tell()
                notify(f"  {last / 2**20:.0f} MB")
    return content.getvalue()


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each .../recordings/DIGIT_SPEAKER_NUMBER.wav in a zip, whose paths are not used."""
    count = 0
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
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
