"""MP3: its frames, from the first good one to the last, past tags and junk; several streams where files were joined.

The first frame of a stream may hold no sound but say how many frames follow (Xing, Info, VBRI); a decoder believes it,
and stops there. So joined files are decoded stream by stream, and a count that is wrong is made right.
"""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

from modalities.audio.data.container.parts import Container, Content, Part, Piece, Unreadable

_RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))
_KBIT = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_IN_A_ROW = 3
"""Frames that must follow each other where sound begins, unless the file ends before."""
_TRIES = 1 << 18
"""Most places at which a frame is looked for in one file."""
_SLACK = 2
"""Frames by which a stated count may be wrong."""


class _Stream(NamedTuple):
    ranges: tuple[range, ...]
    frames: int
    kind: tuple[int, int, bool]
    """Rate, version, and True for mono."""
    stated: int | None
    """Frames as its first one says, which then holds no sound."""


@functools.cache
def _frame(second: int, third: int) -> tuple[int, int, int] | None:
    """Return length in bytes, rate in Hz and version of a layer III frame by its header's bytes 1 and 2."""
    version, layer, kbit, rate = second >> 3 & 3, second >> 1 & 3, third >> 4, third >> 2 & 3
    if second & 0xE0 != 0xE0 or version == 1 or layer != 1 or kbit in (0, 15) or rate == 3:
        return None
    hertz = _RATES[version][rate]
    full = version == 3
    return (144 if full else 72) * 1000 * _KBIT[full][kbit] // hertz + (third >> 1 & 1), hertz, version


def is_frame(head: bytes) -> bool:
    """Return True where `head` begins with the header of a layer III frame."""
    return len(head) > 3 and head[0] == 0xFF and (_frame(head[1], head[2]) is not None or _is_free(head))


def _is_free(head: bytes) -> bool:
    """Return True for a frame of free bit rate, whose length is not stated."""
    return head[1] & 0xE0 == 0xE0 and head[1] >> 3 & 3 != 1 and head[1] >> 1 & 3 == 1 and head[2] >> 4 == 0


def find(data: Content, start: int, size: int) -> Container:
    """Return the streams of an MP3 file from `start` on. Raises Unreadable when there is not one frame."""
    if is_frame(data[start : start + 4]) and _is_free(data[start : start + 4]):
        return Container("MP3", (Piece((range(start, size),) if start else ()),))
    streams: list[_Stream] = []
    tries, at, first, lost = [_TRIES], start, 0, 0
    while (begin := _search(data, at, size, tries)) is not None:
        if streams:
            lost += begin - _past_tags(data, at, begin)
        else:
            first = _junk(data, at, begin)
        at, run = _run(data, begin, size)
        for stream in run:
            if streams and stream.stated is None and stream.kind == streams[-1].kind:
                joined = (*streams[-1].ranges, *stream.ranges)
                streams[-1] = streams[-1]._replace(ranges=joined, frames=streams[-1].frames + stream.frames)
            else:
                streams.append(stream)
    streams = [stream for stream in streams if stream.frames]
    if not streams:
        raise Unreadable("no MP3 frames")
    faults = [f"{first:,} bytes before the sound are skipped"] if first else []
    faults += [f"{lost:,} bytes inside are skipped"] if lost else []
    pieces = []
    for stream in streams:
        more = stream.frames - (stream.frames if stream.stated is None else stream.stated)
        if abs(more) > _SLACK:
            line = "its header says less, and more follows" if more > 0 else "cut off"
            faults += [line] if line not in faults else []
        pieces.append(Piece(_with_count(data, stream)))
    if len(pieces) > 1:
        faults.append(f"{len(pieces):,} streams, one after the other")
    elif not faults and streams[0].ranges[0].start == 0 and streams[0].stated is not None:
        pieces = [Piece()]
    return Container("MP3", tuple(pieces), tuple(faults))


def _with_count(data: Content, stream: _Stream) -> tuple[Part, ...]:
    """Return the parts of a stream, led by a frame that says how many follow: a decoder guesses and stops otherwise."""
    first, *others = stream.ranges
    _, version, mono = stream.kind
    at = _place(version, mono)
    if stream.stated is None:
        head = bytearray(data[first.start : first.start + 4])
        head[1] |= 1  # without a check sum
        head[2] = head[2] & 0x0C | 0x90  # a bit rate that leaves room for it
        length = (_frame(head[1], head[2]) or (0,))[0]
        header = bytes(head) + bytes(at - 4) + b"Xing" + struct.pack(">II", 1, stream.frames)
        return (header.ljust(length, b"\0"), *stream.ranges)
    if abs(stream.frames - stream.stated) <= _SLACK or data[first.start + at : first.start + at + 4] == b"VBRI":
        return stream.ranges
    length = (_frame(data[first.start + 1], data[first.start + 2]) or (0,))[0]
    frame = data[first.start : first.start + length]
    flags, at = frame[at + 7], at + 8
    lead = bytearray(frame[: at - 1] + bytes([flags & ~2]) + struct.pack(">I", stream.frames))
    at += 8 if flags & 2 else 4  # the number of bytes is wrong too, and left out
    encoder = len(lead) + (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    lead += frame[at:]
    if stream.frames < stream.stated and len(lead) > encoder + 23:  # what filled up the end is not there any more
        lead[encoder + 22 : encoder + 24] = bytes([lead[encoder + 22] & 0xF0, 0])
    return (bytes(lead).ljust(length, b"\0"), range(first.start + length, first.stop), *others)


def _search(data: Content, at: int, size: int, tries: list[int]) -> int | None:
    """Return the first place from `at` on where frames of one kind follow each other; None when there is none."""
    while (at := data.find(b"\xff", at, size)) >= 0 and tries[0]:
        tries[0] -= 1
        if _follows(data, at, size):
            return at
        at += 1
    return None


def _follows(data: Content, at: int, size: int) -> bool:
    kind = None
    for row in range(_IN_A_ROW):
        head = data[at : at + 4]
        frame = _frame(head[1], head[2]) if len(head) == 4 and head[0] == 0xFF else None
        if frame is None:
            return (row > 1 and at >= size - 4) or (row > 0 and _tag_length(data, at) > 0)
        if kind not in (None, frame[1:]):
            return False
        kind = frame[1:]
        at += frame[0]
    return True


def _run(data: Content, at: int, size: int) -> tuple[int, list[_Stream]]:
    """Return where frames stop to follow each other, and the streams up to there."""
    streams: list[_Stream] = []
    start, frames, stated = at, 0, None
    kind: tuple[int, int, bool] | None = None
    while at < size:
        head = data[at : at + 4]
        frame = _frame(head[1], head[2]) if len(head) == 4 and head[0] == 0xFF else None
        if frame is None:
            break
        now = (frame[1], frame[2], head[3] >> 6 == 3)
        count = _frame_count(data[at : at + 200], now[1], now[2])
        if kind is not None and (now != kind or count is not None):
            streams.append(_Stream((range(start, at),), frames, kind, stated))
            start, frames, stated = at, 0, None
        if kind != now or count is not None:
            kind, stated = now, count
        frames += count is None
        at += frame[0]
    at = min(at, size)
    if kind is not None:
        streams.append(_Stream((range(start, at),), frames, kind, stated))
    return at, streams


def _place(version: int, mono: bool) -> int:
    """Return the byte of a frame behind its side information."""
    return 4 + ((17 if mono else 32) if version == 3 else (9 if mono else 17))


def _frame_count(frame: bytes, version: int, mono: bool) -> int | None:
    """Return the number of frames that a frame says follow it; None when it is a frame of sound."""
    at = _place(version, mono)
    if frame[at : at + 4] in (b"Xing", b"Info") and len(frame) > at + 12 and frame[at + 7] & 1:
        return int.from_bytes(frame[at + 8 : at + 12], "big")
    return int.from_bytes(frame[50:54], "big") if frame[36:40] == b"VBRI" else None


def _tag_length(data: Content, at: int) -> int:
    """Return the bytes of a tag that begins at `at`, or 0."""
    head = data[at : at + 32]
    if head[:3] == b"ID3" and len(head) >= 10:
        size = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
        return 10 + size
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX":
        return 32 + int.from_bytes(head[12:16], "little")
    return 0


def _past_tags(data: Content, at: int, end: int) -> int:
    while at < end and (length := _tag_length(data, at)):
        at += length
    return min(at, end)


def _junk(data: Content, at: int, end: int) -> int:
    """Return how many bytes between two places are neither tags nor zeros."""
    at = _past_tags(data, at, end)
    return sum(len(data[i : min(i + 65536, end)].replace(b"\0", b"")) for i in range(at, end, 65536))
