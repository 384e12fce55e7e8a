"""Bytes of one listed picture."""

from __future__ import annotations

import io
from typing import BinaryIO

from toolkit.data.listing import Entry


def open_entry(entry: Entry) -> BinaryIO:
    """Open the bytes of one picture; a member of a shard is read into memory."""
    stream = entry.path.open("rb")
    if entry.offset is None:
        return stream
    with stream:
        stream.seek(entry.offset)
        return io.BytesIO(stream.read(entry.size))
