"""WAV, RIFX, RF64, W64, AIFF, CAF and AU: where the samples are, whatever their header says of their length.

Each is a list of chunks, one of which states the format and one of which holds the samples. Programs that write into a
pipe or are killed leave the length at 0 or at its largest value; recorders cut files off. The samples then end with the
file. `benchmarks/fuzz_sounds.py` measures how the decoder stands 20,000 broken files of each codec that may reach it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from modalities.audio.data.container.parts import Container, Piece, Unreadable, patch, seconds

WAVE_CODECS = {1: 0, 3: 0, 6: 0, 7: 0, 2: 1 << 16, 17: 1 << 16, 49: 641}
"""PCM, float, A-law, u-law, MS and IMA ADPCM, GSM 06.10, each with the most samples that fill up its last block."""
WAVE_STREAMS = {80, 85, *range(0x674F, 0x6752), *range(0x676F, 0x6772)}
"""Codecs whose samples are an MP3 or OGG file of their own."""
_WAVE_NAMES = {0x161: "WMA", 0x162: "WMA", 0xFF: "AAC", 0x1610: "AAC"}
AIFF_CODECS = {b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64", b"in24", b"in32", b"raw ",
               b"ulaw", b"ULAW", b"alaw", b"ALAW", b"ima4"}  # fmt: skip
CAF_CODECS = {b"lpcm", b"ulaw", b"alaw", b"alac"}
AU_CODECS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
"""u-law, integers of 8 to 32 bits, float, double and A-law, with their bytes a sample."""
_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_WAVE_GUID = bytes.fromhex("000000001000800000aa00389b71")
_SEARCHED = 1 << 26
"""Bytes at the start of a file that must state its format: pictures and notes may come first."""
_MOST_CHUNKS = 10_000
_SLACK = 64
"""Bytes behind the samples that are not worth a word."""
_UNKNOWN = 0x7FFF0000
"""Lengths from here on are what is written when nothing is known yet."""


class Chunk(NamedTuple):
    name: bytes
    at: int
    """First byte of its header."""
    body: int
    size: int
    """Bytes of its body, as it says."""


class Form(NamedTuple):
    """Layout of a format's chunks."""

    kind: str
    first: int
    """First byte of the first chunk, from the start of the format on."""
    size: str
    """Struct format of a size."""
    name: int = 4
    """Bytes of a name."""
    grain: int = 2
    """Bodies are padded to multiples of it."""
    counts_header: bool = False
    """True where a size counts the chunk's header too."""
    form: bytes = b"fmt "
    data: bytes = b"data"


_RIFF = Form("WAV", 12, "<I")
_RIFX = Form("WAV", 12, ">I")
_WAVE64 = Form("WAV", 40, "<q", name=16, grain=8, counts_header=True)
_AIFF = Form("AIFF", 12, ">I", form=b"COMM", data=b"SSND")
_CAF = Form("CAF", 8, ">q", grain=1, form=b"desc")


def form_of(head: bytes) -> Form | None:
    """Return the chunk format that begins with `head`; None when it is none of them."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _RIFF
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":  # some write the name, and everything else as ever
        return _RIFX if head[12:16] == b"fmt " and head[16:18] == b"\0\0" else _RIFF
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    if head[:4] == b"riff" and head[24:28] == b"wave" and head[28:40] == _W64:
        return _WAVE64
    return _CAF if head[:4] == b"caff" else None


class Inside(Exception):
    """The content of a WAV is a file of its own, from byte `start` to before `stop`."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop


def find(file: BinaryIO, start: int, size: int, form: Form) -> Container:
    """Return the samples of a file of `size` bytes that begins at `start`. Raises Unreadable, Inside."""
    pieces: list[Piece] = []
    faults: list[str] = []
    while True:
        piece, lines, end = _one(file, start, size, form)
        pieces.append(piece)
        faults += lines
        file.seek(end)
        after = file.read(40)
        if form_of(after) is None or len(pieces) >= _MOST_CHUNKS:  # nothing was joined to its end
            break
        form, start = form_of(after) or form, end
    if len(pieces) > 1:
        faults.append(f"{len(pieces):,} files, one after the other")
    return Container(form.kind, tuple(pieces), tuple(faults))


def _one(file: BinaryIO, start: int, size: int, form: Form) -> tuple[Piece, list[str], int]:
    """Return one file's samples, lines on what was mended, and where the next file would begin."""
    format_at = data = long = fact = None
    for chunk in _chunks(file, start + form.first, size, form):
        if chunk.name == form.form:
            format_at = chunk
        elif chunk.name == b"ds64":
            long = chunk
        elif chunk.name == b"fact":
            fact = chunk
        elif chunk.name == form.data:
            data = chunk
            break
    if data and not format_at and form.kind == "AIFF":  # its chunks may stand in any order
        rest = _chunks(file, data.body + data.size + data.size % 2, size, form)
        format_at = next((chunk for chunk in rest if chunk.name == form.form), None)
    if format_at is None:
        raise Unreadable(f"{form.kind} that does not state its format")
    if data is None:
        raise Unreadable("no samples")
    rate, frame, surplus = _format(file, format_at, form)
    if surplus < 0:
        there = data.size if 0 < data.size < size - data.body else size - data.body
        raise Inside(data.body, data.body + there)
    claimed, odd = data.size, ""
    if long and claimed == 0xFFFFFFFF:
        claimed = int.from_bytes(_at(file, long.body + 8, 8), "little")
    there = size - data.body
    end = data.body + claimed
    if claimed < 0 or (claimed >= _UNKNOWN and claimed > there):
        end, odd = size, "its header does not say how long it is"
        odd = "" if form.kind == "CAF" and claimed == -1 else odd  # which its standard allows
    elif claimed > there:
        end, odd = size, "cut off" + (f" at {_share(there, claimed)} of its length" if frame else "")
    elif _more(file, (end, end + -data.size % form.grain), size, form):
        says = f"its header says {seconds(claimed / frame, rate) if frame else 'less'}, and more follows"
        end, odd = size, says if claimed else "its header does not say how long it is"
    lines = [odd] if odd else []
    frames = None
    if fact and surplus and fact.size >= 4 and not odd:
        frames = int.from_bytes(_at(file, fact.body, 4), "little")
    after = end if odd else _after(file, (end, end + -data.size % form.grain), size, form)
    little = form is _RIFF and _at(file, start, 4) == b"RIFX"
    if not (odd or start or after < size or claimed == -1 or little):
        return Piece((), frames, surplus), lines, size
    patches = _patches(file, start, end, data, format_at, long, form, frame)
    return Piece(patch(range(start, end), patches), frames, surplus), lines, after


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if part < 0.995 * whole else "the very end"


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    if place < 0:  # by a header that lies
        return b""
    file.seek(place)
    return file.read(count)


def _chunks(file: BinaryIO, at: int, size: int, form: Form) -> Iterator[Chunk]:
    width = struct.calcsize(form.size)
    header = form.name + width
    for _ in range(_MOST_CHUNKS):
        head = _at(file, at, header)
        if len(head) < header or at > _SEARCHED:
            return
        (length,) = struct.unpack(form.size, head[form.name :])
        if form.counts_header:
            length -= header
        yield Chunk(head[:4], at, at + header, length)
        if length < 0:
            return
        at += header + length
        at += -length % form.grain


def _after(file: BinaryIO, ends: tuple[int, int], size: int, form: Form) -> int:
    """Return where the next file begins behind the samples and their chunks, with or without padding; else `size`."""
    for at in dict.fromkeys(ends):
        if form_of(_at(file, at, 40)):
            return at
        for chunk in _chunks(file, at, size, form):
            if form_of(_at(file, chunk.at, 40)):
                return chunk.at
    return size


def _more(file: BinaryIO, ends: tuple[int, int], size: int, form: Form) -> bool:
    """Return True where samples and no chunks stand behind the end of the samples that the header states."""
    end, _ = ends
    if size - end <= _SLACK:
        return False
    for at in dict.fromkeys(ends):
        chunk = next(_chunks(file, at, size, form), None)
        if chunk and all(32 <= byte < 127 for byte in chunk.name) and 0 <= chunk.size <= size - chunk.body + _SLACK:
            return False
        if form_of(_at(file, at, 40)) or _at(file, at, 3) in (b"TAG", b"ID3", b"APE"):
            return False
    while block := _at(file, end, 1 << 16):
        if block.strip(b"\0"):
            return True
        end += len(block)
    return False


def _format(file: BinaryIO, chunk: Chunk, form: Form) -> tuple[int, int, int]:
    """Return rate in Hz, bytes of a frame (0: a codec with blocks), surplus (-1: a file inside). Raises Unreadable."""
    body = _at(file, chunk.body, min(chunk.size, 64) if chunk.size > 0 else 0)
    if form.kind == "WAV":
        return _wave(body, form)
    if form.kind == "AIFF":
        if len(body) < 18:
            raise Unreadable("AIFF that does not state its format")
        channels, bits = struct.unpack(">h", body[:2])[0], struct.unpack(">h", body[6:8])[0]
        codec = body[18:22] if len(body) >= 22 else b"NONE"
        if codec not in AIFF_CODECS:
            raise Unreadable(f"compressed AIFF ({codec.decode('ascii', 'replace')}); save it as PCM")
        exponent, mantissa = struct.unpack(">HQ", body[8:18])  # a number of 80 bits
        rate = int(mantissa * 2.0 ** (min(exponent & 0x7FFF, 16383 + 40) - 16383 - 63))
        return rate, 0 if codec == b"ima4" else max(0, channels) * ((max(0, bits) + 7) // 8), 0
    if len(body) < 32:
        raise Unreadable("CAF that does not state its format")
    rate_, codec, _, frame, *_ = struct.unpack(">d4sIIIII", body[:32])
    if codec not in CAF_CODECS:
        raise Unreadable(f"compressed CAF ({codec.decode('ascii', 'replace').strip()}); save it as PCM")
    return int(rate_) if 0 < rate_ < 1e7 else 0, frame if codec != b"alac" else 0, 0


def _wave(body: bytes, form: Form) -> tuple[int, int, int]:
    if len(body) < 16:
        raise Unreadable("WAV that does not state its format")
    order = form.size[0]
    codec, _, rate, _, align, _ = struct.unpack(f"{order}HHIIHH", body[:16])
    if codec == 0xFFFE and body[26:40] == _WAVE_GUID:
        (codec,) = struct.unpack(f"{order}H", body[24:26])
    if codec in WAVE_STREAMS:
        return rate, 0, -1
    if codec not in WAVE_CODECS:
        raise Unreadable(f"compressed WAV ({_WAVE_NAMES.get(codec, f'codec {codec}')}); save it as PCM")
    surplus = WAVE_CODECS[codec]
    return rate, 0 if surplus else align, surplus


def _patches(
    file: BinaryIO, start: int, end: int, data: Chunk, format_at: Chunk, long: Chunk | None, form: Form, frame: int
) -> list[tuple[int, bytes]]:
    """Return what makes the header true: the length of the file and of its samples."""
    length, total = end - data.body, end - start
    at = data.at + form.name
    if form is _CAF:
        return [(at, struct.pack(">q", length))]
    if form is _WAVE64:
        return [(start + 16, struct.pack("<q", total)), (at, struct.pack("<q", length + 24))]
    name = _at(file, start, 4)
    if long is not None:
        sizes = struct.pack("<QQQ", total - 8, length, length // max(frame, 1))
        return [(start + 4, b"\xff" * 4), (long.body, sizes), (at, b"\xff" * 4)]
    outer, inner = (min(n, 0xFFFFFFFF) for n in (total - 8, length))
    tag = b"RIFF" if name == b"RIFX" and form is _RIFF else name
    patches = [(start, tag + struct.pack(form.size, outer)), (at, struct.pack(form.size, inner))]
    if form is _AIFF and frame:
        count = (format_at.body + 2, struct.pack(">I", min(0xFFFFFFFF, max(0, length - 8) // frame)))
        patches = sorted([*patches, count] if format_at.at < end else patches)
    return patches


def find_au(file: BinaryIO, start: int, size: int) -> Container:
    """Return the samples of an AU file. Raises Unreadable."""
    head = _at(file, start, 24)
    if len(head) < 24:
        raise Unreadable("AU that does not state its format")
    _, body, claimed, codec, rate, channels = struct.unpack(">4sIIIII", head)
    if codec not in AU_CODECS:
        raise Unreadable(f"compressed AU (codec {codec}); save it as PCM")
    frame, there = AU_CODECS[codec] * channels, size - start - body
    if claimed == 0xFFFFFFFF or claimed == there:  # the standard lets the length be unknown
        return Container("AU", (Piece((range(start, size),) if start else ()),))
    if claimed > there:
        line = f"cut off at {_share(there, claimed)} of its length"
    elif there - claimed > _SLACK and any(_at(file, start + body + claimed, 1 << 16)):
        line = f"its header says {seconds(claimed / max(frame, 1), rate)}, and more follows"
    else:
        return Container("AU", (Piece((range(start, size),) if start else ()),))
    parts = patch(range(start, size), [(start + 8, struct.pack(">I", min(max(there, 0), 0xFFFFFFFF)))])
    return Container("AU", (Piece(parts),), (line,))
