"""Vocabularies: text to token ids and back, exactly, with characters, bytes or byte pairs as tokens.

Ids 0, 1 and 2 are PAD, EOS and SEP in every vocabulary. A character vocabulary goes on with ESC (3), the sixteen hex
digits (4 to 19) and its characters in order of code point: a character that it does not have is written as ESC and
the digits of its code point, so that any text comes back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from modalities.text.data import bpe
from toolkit.errors import DataError, UsageError

PAD, EOS, SEP = 0, 1, 2
"""Filling, which is never a word; the end of an item or document; between source and target."""
SPECIAL = 3
ESC, DIGITS, FIRST_CHARACTER = 3, 4, 20
MANY_CHARACTERS, RARE = 1_000, 3
"""In text with more distinct characters than this, those seen fewer than RARE times are written as escapes."""
CODE_POINTS = 0x110000
_UNKNOWN = "\ufffd"
_BLOCK = 1 << 18
_LONGEST_TEXT = 1 << 26


@dataclass(frozen=True)
class Vocabulary:
    """The text of each token id."""

    kind: str
    """char, byte or bpe."""
    known: str = ""
    """char: the characters that are tokens, in order of code point."""
    merges: tuple[tuple[int, int], ...] = ()
    """bpe: pairs of tokens that become one, in order; 0 to 255 are the bytes, 256 the first merged one."""

    @cached_property
    def size(self) -> int:
        """Ids are 0 to size - 1."""
        return FIRST_CHARACTER + len(self.known) if self.kind == "char" else SPECIAL + len(self.token_bytes)

    @property
    def special(self) -> tuple[int, ...]:
        """The ids that are no text: PAD, EOS, SEP."""
        return (PAD, EOS, SEP)

    @property
    def escapes(self) -> tuple[int, ...]:
        """The ids of ESC and the hex digits; () unless tokens are characters."""
        return tuple(range(ESC, FIRST_CHARACTER)) if self.kind == "char" else ()

    @property
    def dtype(self) -> type[np.int16] | type[np.int32]:
        """The smallest signed type that holds every id."""
        return np.int16 if self.size <= 1 << 15 else np.int32

    def encode(self, text: str) -> np.ndarray:
        """(N,) int32: the ids of `text`, without EOS. Raises DataError for half of a surrogate pair."""
        parts = [self._encode(text[i : i + _BLOCK]) for i in range(0, len(text), _BLOCK)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(T,) int32: the ids of all texts, one after the other; (N,) int64: where each ends."""
        if self.kind == "bpe":  # what a pair is depends on what stands beside it
            parts = [self.encode(text) for text in texts]
            ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
            return np.concatenate([np.zeros(0, np.int32), *parts]), ends
        ids = self.encode("".join(texts))
        begins = np.append(np.flatnonzero(self._counts[ids]), len(ids))  # of each character
        return ids, begins[np.cumsum([len(text) for text in texts], dtype=np.int64)]

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of `ids` in [0, size). PAD, EOS and SEP are nothing; what is no text (stray hex digits, bytes that
        are not UTF-8) is U+FFFD."""
        flat = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64).reshape(-1)
        if flat.size and not (flat.min() >= 0 and flat.max() < self.size):
            raise ValueError(f"token ids must be in [0, {self.size}), not {flat.min()} to {flat.max()}")
        flat = flat[flat >= SPECIAL]
        if self.kind == "byte":
            return (flat - SPECIAL).astype(np.uint8).tobytes().decode("utf-8", "replace")
        if self.kind == "bpe":
            return b"".join([self.token_bytes[i] for i in (flat - SPECIAL).tolist()]).decode("utf-8", "replace")
        if flat.size and flat.min() < FIRST_CHARACTER:
            return self._decode_escapes(flat)
        return self._points[flat - FIRST_CHARACTER].tobytes().decode("utf-32-le")

    def characters(self, ids: np.ndarray) -> np.ndarray:
        """Return the number of characters of each of `ids`, same shape, int64; over any whole text they add up to its
        length. PAD, EOS and SEP: 0. A character's first byte (or ESC) counts 1, its others (or digits) 0."""
        return self._counts[np.asarray(ids)]

    def to_text(self) -> str:
        """JSON in ASCII, which `from_text` reads."""
        return json.dumps({"kind": self.kind, "known": self.known, "merges": self.merges}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """Read what `to_text` wrote, perhaps a stranger's: nothing in it is trusted. Raises DataError."""
        try:
            if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
                raise ValueError("it is no text, or too long")
            return _parse(text)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(
                f"the vocabulary is damaged ({str(error)[:100]}); train again, or take another run"
            ) from None

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """Return the bytes of ids from SPECIAL on, unless tokens are characters."""
        return bpe.token_bytes(self.merges)

    @cached_property
    def _points(self) -> np.ndarray:
        return np.frombuffer(self.known.encode("utf-32-le"), "<u4")

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point to id; 0 for those that need an escape. Its last entry stands for all beyond it."""
        table = np.zeros(int(self._points.max(initial=0)) + 2, np.int32)
        table[self._points] = np.arange(FIRST_CHARACTER, self.size, dtype=np.int32)
        return table

    @cached_property
    def _counts(self) -> np.ndarray:
        counts = np.zeros(self.size, np.int64)
        if self.kind == "char":
            counts[ESC] = 1
            counts[FIRST_CHARACTER:] = 1
        else:
            counts[SPECIAL:] = [sum(byte & 0xC0 != 0x80 for byte in token) for token in self.token_bytes]
        return counts

    @cached_property
    def _merger(self) -> bpe.Encoder:
        return bpe.Encoder(self.merges)

    def _encode(self, text: str) -> np.ndarray:
        try:
            data = text.encode("utf-32-le" if self.kind == "char" else "utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"character {error.start} of the text is half of a surrogate pair (U+{ord(text[error.start]):04X}), "
                "which is no character; remove it"
            ) from None
        if self.kind == "bpe":
            return self._merger.encode(text) + np.int32(SPECIAL)
        if self.kind == "byte":
            return np.frombuffer(data, np.uint8).astype(np.int32) + np.int32(SPECIAL)
        points = np.frombuffer(data, "<u4")
        ids = self._table[np.minimum(points, len(self._table) - 1)]
        return ids if ids.all() else _with_escapes(ids, points.astype(np.int64))

    def _decode_escapes(self, ids: np.ndarray) -> str:
        """ESC with the digits after it is one character, and so are digits without ESC, U+FFFD."""
        digit = (ids >= DIGITS) & (ids < FIRST_CHARACTER)
        first = ~digit | (np.concatenate([[FIRST_CHARACTER], ids[:-1]]) >= FIRST_CHARACTER)
        begins = np.flatnonzero(first)
        sizes = np.diff(begins, append=len(ids))
        heads = ids[begins]
        group = np.cumsum(first) - 1
        place = (begins + sizes)[group] - 1 - np.arange(len(ids))
        values = np.bincount(group, np.where(digit, (ids - DIGITS) * 16.0 ** np.minimum(place, 6), 0)).astype(np.int64)
        valid = (heads == ESC) & (sizes > 1) & (sizes <= 7) & (values < CODE_POINTS) & (values >> 11 != 0xD800 >> 11)
        known = np.append(self._points, 0)[np.maximum(heads - FIRST_CHARACTER, 0)]
        points = np.where(heads >= FIRST_CHARACTER, known, np.where(valid, values, ord(_UNKNOWN)))
        return points.astype("<u4").tobytes().decode("utf-32-le")


def learn(tokens: str, counts: np.ndarray, blocks: Iterable[str]) -> Vocabulary:
    """The vocabulary that `tokens` (char, byte, bpe:N) asks for, of the training text.

    counts: how often each code point occurs, for char. blocks: the text, for bpe; not read otherwise.
    """
    kind, size = parse(tokens)
    if kind == "byte":
        return Vocabulary("byte")
    if kind == "bpe":
        return Vocabulary("bpe", merges=bpe.learn(blocks, size))
    ids = np.flatnonzero(counts)
    if len(ids) > MANY_CHARACTERS:
        ids = np.flatnonzero(counts >= RARE)
    return Vocabulary("char", known=ids.astype("<u4").tobytes().decode("utf-32-le"))


def parse(tokens: str) -> tuple[str, int]:
    """Kind and size (0 except for bpe) that an option `tokens` means. Raises UsageError."""
    kind, _, size = tokens.partition(":")
    if tokens in ("char", "byte"):
        return tokens, 0
    if kind == "bpe" and size.isdecimal() and size.isascii() and len(size) < 8:
        if bpe.SMALLEST <= int(size) <= bpe.LARGEST:
            return kind, int(size)
        raise UsageError(f"data.tokens '{tokens}': byte pairs can be {bpe.SMALLEST:,} to {bpe.LARGEST:,} tokens")
    raise UsageError(f"data.tokens '{tokens[:40]}' is unknown; write char, byte, or bpe:N with N tokens, e.g. bpe:512")


def _with_escapes(ids: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`ids` with ESC and the hex digits of the code point wherever one is 0."""
    unknown = ids == 0
    digits = np.where(unknown, 1 + sum((points >= 16**k).astype(np.int64) for k in range(1, 6)), 0)
    starts = np.cumsum(1 + digits) - (1 + digits)
    out = np.empty(int(starts[-1] + 1 + digits[-1]), np.int32)
    out[starts] = np.where(unknown, ESC, ids)
    for k in range(6):
        more = digits > k
        out[starts[more] + 1 + k] = DIGITS + (points[more] >> 4 * (digits[more] - 1 - k) & 15)
    return out


@lru_cache(maxsize=4)
def _parse(text: str) -> Vocabulary:
    """Return the vocabulary of a JSON text. It is cached, because its tables take a while to make."""
    return Vocabulary(**_check(json.loads(text)))


def _check(about: Any) -> dict[str, Any]:
    """The fields of a Vocabulary from parsed JSON. Raises ValueError, TypeError."""
    if not isinstance(about, dict) or about.keys() != {"kind", "known", "merges"}:
        raise ValueError("it has other fields than kind, known, merges")
    kind, known, merges = about["kind"], about["known"], about["merges"]
    if kind not in ("char", "byte", "bpe") or not isinstance(known, str) or not isinstance(merges, list):
        raise ValueError("a field is of the wrong kind")
    points = np.frombuffer(known.encode("utf-32-le"), "<u4").astype(np.int64)  # refuses surrogates
    if (np.diff(points) <= 0).any():
        raise ValueError("characters are not in order")
    if (known and kind != "char") or (merges and kind != "bpe"):
        raise ValueError(f"a {kind} vocabulary has no such part")
    return {"kind": kind, "known": known, "merges": bpe.check_merges(merges)}
