"""Streams that zlib packed, of which no more is held than is asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

_BLOCK = 1 << 18


class InflateStream:
    """A stream in the format of zlib (RFC 1950), unpacked as it is asked for."""

    def __init__(self, stream: BinaryIO, spans: Sequence[tuple[int, int]]) -> None:
        """spans: offset and length of each part of it in the file, in bytes."""
        self._unpack = zlib.decompressobj()
        self._blocks = self._read(stream, spans)

    def take(self, count: int) -> bytes:
        """Return the next bytes. Raises OSError where there are fewer."""
        parts = []
        while count:
            part = self._some(count)
            if part is None:
                raise OSError("image file is truncated")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Look at the checksum, where the file does not end before it. Raises OSError where it is wrong."""
        while self._some(_BLOCK) is not None:
            pass

    def _some(self, most: int) -> bytes | None:
        """Return some more bytes, perhaps none as yet, or None at the end."""
        packed = self._unpack.unconsumed_tail or next(self._blocks, b"")
        if self._unpack.eof or not packed:
            return None
        try:
            return self._unpack.decompress(packed, most)
        except zlib.error:
            raise OSError("broken data stream when reading image file") from None

    @staticmethod
    def _read(stream: BinaryIO, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        for place, length in spans:
            for start in range(0, length, _BLOCK):
                stream.seek(place + start)
                yield stream.read(min(_BLOCK, length - start))
