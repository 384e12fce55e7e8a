"""Headers that lie, files that were cut off, joined or begin with junk: what is in them is read, wholly, and said."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from modalities.audio.data import decode
from modalities.audio.data.container.parts import PartReader, patch
from tests.modalities.audio.corpus import RATE, encoded, noise, sine, wave, with_more_frames

SECOND = noise(RATE, seed=3)[:, 0]
"""A second of noise on the 16-bit grid: no sample can be taken for another."""
LOW, HIGH = sine(220, 1.0, 16_000), sine(880, 1.0, 16_000)
UNKNOWN = "its header does not say how long it is"


def got(path: Path, content: bytes) -> tuple[np.ndarray, list[str]]:
    """The samples of a file, (frames, channels), and what is said of it."""
    path.write_bytes(content)
    mended: list[str] = []
    return np.concatenate(list(decode.blocks(path, mended))), mended


def with_size(content: bytes, field: bytes, form: str, size: int, behind: int = 4) -> bytes:
    """The file with another size in the header of its chunk `field`."""
    at = content.index(field) + behind
    return content[:at] + struct.pack(form, size) + content[at + struct.calcsize(form) :]


def id3(size: int) -> bytes:
    return b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + b"APIC" + bytes(size - 4)


def pitch(samples: np.ndarray, rate: int = 16_000) -> float:
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * rate / len(samples))


WAVE = wave((SECOND[:, None] * 2**15).astype(np.int16))
SHORT = "its header says 0.06 s, and more follows"


@pytest.mark.parametrize(
    ("size", "line"),
    [
        (0, UNKNOWN),
        (0xFFFFFFFF, UNKNOWN),
        (0x7FFFF000, UNKNOWN),
        (0x80000000, UNKNOWN),
        (1000, SHORT),
        (999, SHORT),
        (20_000, "cut off at 80 % of its length"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "field", "form", "behind"),
    [("WAV", b"data", "<I", 4), ("AIFF", b"SSND", ">I", 4), ("CAF", b"data", ">q", 4), ("W64", b"data", "<q", 16),
     ("RF64", b"ds64", "<Q", 16), ("AU", b".snd", ">I", 8)],
)  # fmt: skip
def test_lengths_that_are_wrong(
    kind: str, field: bytes, form: str, behind: int, size: int, line: str, tmp_path: Path
) -> None:
    extra = {"AIFF": 8, "CAF": 4, "W64": 24}.get(kind, 0)
    content = encoded(SECOND, RATE, kind, "PCM_16")
    content = with_size(content, field, form, size + extra if 0 < size < 2**30 else size, behind)
    samples, mended = got(tmp_path / "a", content)
    assert np.array_equal(samples[:, 0], SECOND.astype(np.float32))
    if kind == "AU" and size == 0xFFFFFFFF:  # as its standard has it
        assert mended == []
    elif kind == "AU" and line == UNKNOWN:
        assert len(mended) == 1
    else:
        assert mended == [line]


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "W64", "RF64", "AU"])
def test_files_that_were_cut_off(kind: str, tmp_path: Path) -> None:
    content = encoded(SECOND, RATE, kind, "PCM_16")
    samples, mended = got(tmp_path / "a", content[:-8000])
    assert len(samples) in (4000, 4000 + 2)  # some end in a chunk of four bytes
    assert np.array_equal(samples[:, 0], SECOND[: len(samples)].astype(np.float32))
    assert mended == ["cut off at 50 % of its length"]
    samples, mended = got(tmp_path / "a", WAVE[:-1])
    assert (len(samples), mended) == (7999, ["cut off at the very end of its length"])


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 4) + b"INFO",
        b"bext" + struct.pack("<I", 602) + bytes(602),
        bytes(5000),
        b"TAG" + bytes(125),
        id3(900),
        b"odd",
    ],
)
def test_what_stands_behind_the_samples_is_no_sound(behind: bytes, tmp_path: Path) -> None:
    samples, mended = got(tmp_path / "a.wav", WAVE + behind)
    assert np.array_equal(samples[:, 0], SECOND.astype(np.float32)) and mended == []


@pytest.mark.parametrize(
    "before",
    [
        b"JUNK" + struct.pack("<I", 28) + bytes(28),
        b"bext" + struct.pack("<I", 602) + bytes(602),
        b"id3 " + struct.pack("<I", 2_000_000) + bytes(2_000_000),
        b"odd " + struct.pack("<I", 3) + bytes(4),
    ],
)
def test_what_stands_before_the_format(before: bytes, tmp_path: Path) -> None:
    samples, mended = got(tmp_path / "a.wav", WAVE[:12] + before + WAVE[12:])
    assert np.array_equal(samples[:, 0], SECOND.astype(np.float32)) and mended == []


def test_big_endian_wave(tmp_path: Path) -> None:
    data = (SECOND * 2**15).astype(">i2").tobytes()
    form = b"fmt " + struct.pack(">IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    content = (
        b"RIFX" + struct.pack(">I", 36 + len(data)) + b"WAVE" + form + b"data" + struct.pack(">I", len(data)) + data
    )
    for version, lines in ((content, []), (with_size(content, b"data", ">I", 0), [UNKNOWN]), (b"RIFX" + WAVE[4:], [])):
        samples, mended = got(tmp_path / "a.wav", version)
        assert np.array_equal(samples[:, 0], SECOND.astype(np.float32)) and mended == lines


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16")])
def test_joined_files_of_whole_samples(kind: str, subtype: str, tmp_path: Path) -> None:
    parts = [encoded(noise(3000 + i, seed=i), RATE, kind, subtype) for i in range(3)]
    samples, mended = got(tmp_path / "a", b"".join(parts))
    want = np.concatenate([noise(3000 + i, seed=i) for i in range(3)])
    assert np.array_equal(samples, want.astype(np.float32))
    assert mended == ["3 files, one after the other"]


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_joined_streams(kind: str, subtype: str, tmp_path: Path) -> None:
    low, high = encoded(LOW, 16_000, kind, subtype), encoded(HIGH, 16_000, kind, subtype)
    samples, mended = got(tmp_path / "a", low + high)
    assert samples.shape == (32_000, 1) and mended == ["2 streams, one after the other"]
    assert abs(pitch(samples[1000:15_000, 0]) - 220) < 3 and abs(pitch(samples[17_000:31_000, 0]) - 880) < 3
    assert decode.read(tmp_path / "a", 8_000, 2).shape == (16_000, 2)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")])
def test_joined_streams_of_another_rate_and_layout(kind: str, subtype: str, tmp_path: Path) -> None:
    """They become what the first is: 44.1 kHz stereo is resampled and mixed."""
    wide = np.stack([sine(880, 1.0, 44_100), sine(880, 1.0, 44_100)], axis=1)
    samples, mended = got(tmp_path / "a", encoded(LOW, 16_000, kind, subtype) + encoded(wide, 44_100, kind, subtype))
    assert samples.shape == (32_000, 1) and len(mended) == 1
    assert abs(pitch(samples[1000:15_000, 0]) - 220) < 3 and abs(pitch(samples[17_000:31_000, 0]) - 880) < 3


def flac_and_total(total: int) -> bytes:
    return with_more_frames(encoded(SECOND, RATE, "FLAC", "PCM_16"), total)


@pytest.mark.parametrize(
    ("total", "line"),
    [
        (0, UNKNOWN),
        (4000, "its header says 0.50 s, and more follows"),
        (7999, "its header says 1.00 s, and more follows"),
        (16_000, "cut off: its header says 2.00 s"),
        (2**36 - 1, "cut off: its header says 8,589,934.59 s"),
    ],
)
@pytest.mark.parametrize("tags", [(b"", b""), (id3(1000), b""), (id3(10) + id3(300), b"TAG" + bytes(125))])
def test_flac_of_a_wrong_total(total: int, line: str, tags: tuple[bytes, bytes], tmp_path: Path) -> None:
    samples, mended = got(tmp_path / "a.flac", tags[0] + flac_and_total(total) + tags[1])
    assert np.array_equal(samples[:, 0], SECOND.astype(np.float32)) and mended == [line]


def test_flac_of_the_right_total_and_cut_off(tmp_path: Path) -> None:
    content = flac_and_total(RATE)
    for before, behind in ((b"", b""), (id3(500), b""), (b"", b"TAG" + bytes(125)), (b"", b"\xff\xf8" * 300)):
        samples, mended = got(tmp_path / "a.flac", before + content + behind)
        assert np.array_equal(samples[:, 0], SECOND.astype(np.float32)) and mended == []
    long = noise(5 * RATE, seed=4)[:, 0]
    content = encoded(long, RATE, "FLAC", "PCM_16")
    samples, mended = got(tmp_path / "a.flac", content[: len(content) // 2])
    assert 0.4 * len(long) < len(samples) < 0.5 * len(long) and len(samples) % 4096 == 0  # whole frames
    assert np.array_equal(samples[:, 0], long[: len(samples)].astype(np.float32))
    assert mended[-1] == "cut off: its header says 5.00 s"
    hole = content[: len(content) // 2] + bytes(300) + content[len(content) // 2 + 300 :]
    samples, mended = got(tmp_path / "a.flac", hole)
    assert np.array_equal(samples[:, 0], long[: len(samples)].astype(np.float32)) and len(samples) > 0.4 * len(long)
    assert mended == [f"decoding stops after {len(samples) / RATE:.2f} s of 5.00 s"]


MP3 = encoded(LOW, 16_000, "MP3", "MPEG_LAYER_III")
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 1, 0) + bytes(8)


@pytest.mark.parametrize(
    ("before", "behind", "lines"),
    [
        (id3(300_000), b"", []),
        (id3(1000) + id3(1000), b"", []),
        (id3(1000) + bytes(2000), b"", []),
        (id3(1000) + bytes(100), b"", []),
        (bytes(300), b"", []),
        (b"\x00\x11garbage!" * 20, b"", ["180 bytes before the sound are skipped"]),
        (b"\xff\xfb\xff\xff" * 9, b"", ["36 bytes before the sound are skipped"]),
        (b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"", []),  # a size beyond the file
        (b"", b"TAG" + bytes(125), []),
        (b"", APE + bytes(32) + b"TAG" + bytes(125), []),
        (b"", bytes(777), []),
    ],
)
def test_mp3_with_tags_and_junk(before: bytes, behind: bytes, lines: list[str], tmp_path: Path) -> None:
    plain, _ = got(tmp_path / "a.mp3", MP3)
    assert len(plain) == 16_000 and abs(pitch(plain[:, 0]) - 220) < 3
    samples, mended = got(tmp_path / "a.mp3", before + MP3 + behind)
    assert np.array_equal(samples, plain) and mended == lines


def test_mp3_whose_count_of_frames_is_wrong_or_missing(tmp_path: Path) -> None:
    """The first frame holds the count and no sound: without it a file begins at the second."""
    first = MP3.index(b"\xff", 200)
    while not (MP3[first + 1] & 0xE0 == 0xE0 and MP3[first + 1 : first + 2] == MP3[1:2]):
        first = MP3.index(b"\xff", first + 1)
    bare = MP3[first:]
    samples, mended = got(tmp_path / "a.mp3", bare)
    assert 16_000 <= len(samples) <= 16_000 + 3 * 576 and mended == []  # with what the encoder adds at both ends
    assert abs(pitch(samples[2000:15_000, 0]) - 220) < 3
    at = max(MP3.find(b"Xing"), MP3.find(b"Info")) + 8
    fewer = MP3[:at] + struct.pack(">I", 10) + MP3[at + 4 :]
    samples, mended = got(tmp_path / "a.mp3", fewer)
    assert len(samples) >= 16_000 and mended == ["its header says less, and more follows"]
    half = len(MP3) // 2
    whole, _ = got(tmp_path / "a.mp3", MP3)
    samples, mended = got(tmp_path / "a.mp3", MP3[:half])
    assert len(samples) % 576 == 576 - 1105 % 576 and len(samples) > 4000 and mended == ["cut off"]  # whole frames
    assert np.abs(samples - whole[: len(samples)])[:-600].max() < 1e-6
    samples, mended = got(tmp_path / "a.mp3", MP3 + bare)
    assert 32_000 <= len(samples) <= 32_000 + 4 * 576 and mended == ["its header says less, and more follows"]
    samples, mended = got(tmp_path / "a.mp3", MP3 + id3(500) + MP3 + b"TAG" + bytes(125))
    assert len(samples) == 32_000 and mended == ["2 streams, one after the other"]
    samples, mended = got(tmp_path / "a.mp3", MP3[:half] + bytes(200) + MP3[half + 200 :])
    assert 12_000 < len(samples) <= 16_000 and "bytes inside are skipped" in mended[0]


def test_ogg_that_was_cut_off(tmp_path: Path) -> None:
    """Whole packets of the last page are kept, though its check sum is gone."""
    content = encoded(np.tile(noise(RATE, seed=5)[:, 0], 10), RATE, "OGG", "VORBIS")
    whole, said = got(tmp_path / "a.ogg", content)
    assert said == [] and len(whole) == 10 * RATE
    for share in (0.3, 0.5, 0.77):
        samples, mended = got(tmp_path / "a.ogg", content[: int(share * len(content))])
        assert (share - 0.1) * len(whole) < len(samples) < (share + 0.05) * len(whole)
        assert np.array_equal(samples, whole[: len(samples)]) and mended == ["cut off"]
    page = content.index(b"OggS", len(content) // 2)
    samples, mended = got(tmp_path / "a.ogg", content[: page + 60] + bytes(300) + content[page + 360 :])
    assert len(samples) < len(whole) and len(mended) == 1 and mended[0].endswith("s of 10.00 s are damaged")


@pytest.mark.parametrize(
    ("kind", "subtype"), [("OGG", "VORBIS"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("WAV", "PCM_16")]
)
def test_junk_before_other_formats(kind: str, subtype: str, tmp_path: Path) -> None:
    content = encoded(LOW, 16_000, kind, subtype)
    plain, _ = got(tmp_path / "a", content)
    samples, mended = got(tmp_path / "a", b"\1\2\3\4" * 32 + content)
    assert np.array_equal(samples, plain) and mended == ["128 bytes before the sound are skipped"]


@pytest.mark.parametrize(
    ("codec", "kind", "subtype"), [(0x674F, "OGG", "VORBIS"), (0x6771, "OGG", "VORBIS"), (85, "MP3", "MPEG_LAYER_III")]
)
def test_compressed_files_inside_a_wave(codec: int, kind: str, subtype: str, tmp_path: Path) -> None:
    content = encoded(LOW, 16_000, kind, subtype)
    form = struct.pack("<HHIIHH", codec, 1, 16_000, 4000, 1, 16)
    riff = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(content)) + content
    plain, _ = got(tmp_path / "a.ogg", content)
    samples, mended = got(tmp_path / "a.ogg", b"RIFF" + struct.pack("<I", len(riff)) + riff)
    assert np.array_equal(samples, plain) and mended == []


def test_a_file_in_parts(tmp_path: Path) -> None:
    content = bytes(range(200))
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb", buffering=0) as file:
        parts = patch(range(10, 150), [(20, b"abc"), (40, b"de")])
        want = content[10:20] + b"abc" + content[23:40] + b"de" + content[42:150]
        whole = PartReader(file, parts)
        assert whole.seek(0, 2) == len(want)
        for at in (0, 9, 10, 12, 13, 31, 139, 140, 500):
            whole.seek(at)
            assert whole.read(25) == want[at : at + 25]
        whole.seek(0)
        assert whole.read() == want
