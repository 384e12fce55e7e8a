"""A character n-gram model with interpolated Witten-Bell smoothing: the plainest judge of text there is.

    P(c | h) = (count(h c) + T(h) P(c | h')) / (count(h) + T(h))

(Witten and Bell 1991, method C, as interpolated in Chen and Goodman 1998, eq. 14): T(h) is the number of different
characters that follow the context h in the training text, and h' is h without its oldest character. An unseen context
gives P(c | h'), and below the empty context stands the uniform law, so that nothing has probability 0.

Running text is one long text, which does not pay for its length. An item does: it stands alone between two marks, and
the second is a symbol like any other that costs bits (so all strings together have probability 1), but no character.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Text = str | Ints
"""A string, or any whole numbers (L,) such as token ids."""
END = 0x110000
"""Mark before and behind each item; a number that no character has."""
_CHARACTERS = 0x110000 - 0x800


class _Level(NamedTuple):
    """The grams of one length k, numbered in the order of their codes."""

    codes: Ints
    """Number of the gram's first k - 1 symbols, times the size of the alphabet, plus its last symbol; sorted."""
    counts: Ints
    followed: Ints
    """Occurrences of each gram of length k - 1 that a symbol follows."""
    kinds: Ints
    """Different symbols that follow each gram of length k - 1."""


class NGram:
    """A model of `order` symbols: each is conditioned on up to `order` - 1 previous ones of the same text.

    The alphabet is every symbol of the training text and of `alphabet`, and one more that stands for all others. A list
    of texts is items: no context crosses them, their end is in the alphabet, and "other" also pays for which one it is.
    """

    def __init__(self, train: Text | Sequence[str], order: int, alphabet: Text = "") -> None:
        """Count the grams. Raises ValueError when there is no training text, or `order` is below 1."""
        self.items = not isinstance(train, (str, np.ndarray))
        ids, place = self._frame(train if self.items else [train])  # type: ignore[arg-type, list-item]
        if not len(ids) or order < 1:
            raise ValueError(f"a text and an order of at least 1 expected, got {len(ids)} symbols and order {order}")
        self.order = order
        self.alphabet = np.unique(np.concatenate([ids, symbols(alphabet)]))
        self.size = len(self.alphabet) + 1
        x = self._numbers(ids)
        self._single = np.bincount(x[place >= self.items], minlength=self.size)
        self._levels: list[_Level] = []
        ranks, grams = x, self.size
        for length in range(2, min(order, int(place.max()) + 1) + 1):
            at = np.flatnonzero(place >= length - 1)
            before = ranks[at - 1]  # of the gram that ends one place earlier
            ranks = np.full(len(x), -1, dtype=np.int64)
            codes, ranks[at], counts = np.unique(before * self.size + x[at], return_inverse=True, return_counts=True)
            context = codes // self.size
            followed = np.bincount(context, weights=counts, minlength=grams).astype(np.int64)
            self._levels.append(_Level(codes, counts, followed, np.bincount(context, minlength=grams)))
            grams = len(codes)

    def bits(self, text: Text) -> Floats:
        """Return -log2 P of each symbol given those before it in `text`: (L,); of an item, and of its end: (L + 1,)."""
        return self._bits([text])

    def bits_per_character(self, texts: Sequence[Text]) -> tuple[float, float]:
        """Return the bits of all texts over their characters, and the standard error over texts.

        Ends of items cost bits, and are no characters. Nan where there are no characters, or for the error fewer than
        two texts.
        """
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        if not lengths.sum():
            return float("nan"), float("nan")
        totals = np.bincount(np.repeat(np.arange(len(texts)), lengths + self.items), self._bits(texts), len(texts))
        return ratio(totals, lengths)

    def distribution(self, contexts: Sequence[Text]) -> Floats:
        """Return P of each symbol after each context: (B, size). Rows sum to 1; the last column is "other"."""
        rows = [self._numbers(self._frame([text])[0]) for text in contexts]
        rows = [row[: len(row) - self.items][-self.order + 1 :] if self.order > 1 else row[:0] for row in rows]
        lengths = np.array([len(row) + 1 for row in rows], dtype=np.int64)
        x = np.concatenate([np.append(row, symbol) for row in rows for symbol in range(self.size)])
        ends = np.cumsum(np.repeat(lengths, self.size)) - 1
        return self._last(x, places(np.repeat(lengths, self.size)))[ends].reshape(len(rows), self.size)

    def sample(self, n: int, length: int, seed: int) -> list[str]:
        """Draw `n` texts of `length` characters from a model that was trained on a str."""
        rng = np.random.default_rng(seed)
        letters = [chr(symbol) for symbol in self.alphabet]
        texts = [""] * n
        for _ in range(length):
            p = self.distribution(texts)[:, :-1].cumsum(1)
            at = (p < rng.random((n, 1)) * p[:, -1:]).sum(1)
            texts = [text + letters[i] for text, i in zip(texts, at)]
        return texts

    def _numbers(self, ids: Ints) -> Ints:
        """Return places in the alphabet; its size for other symbols."""
        at = np.searchsorted(self.alphabet, ids)
        inside = self.alphabet[np.minimum(at, len(self.alphabet) - 1)] == ids
        return np.where(inside, at, len(self.alphabet))

    def _frame(self, texts: Sequence[Text]) -> tuple[Ints, Ints]:
        """Return the symbols of all texts one after another, items with END around them, and the place of each."""
        mark = np.full(int(self.items), END, dtype=np.int64)
        parts = [np.concatenate([mark, symbols(text), mark]) for text in texts]
        return np.concatenate([symbols(""), *parts]), places(np.array([len(part) for part in parts], dtype=np.int64))

    def _bits(self, texts: Sequence[Text]) -> Floats:
        ids, place = self._frame(texts)
        x = self._numbers(ids)
        bits = -np.log2(self._last(x, place))
        if self.items:
            bits[x == self.size - 1] += math.log2(_CHARACTERS - (self.size - 2))
        return bits[place >= self.items]

    def _last(self, x: Ints, place: Ints) -> Floats:
        *_, p = self._probabilities(x, place)
        return p

    def _probabilities(self, x: Ints, place: Ints) -> Iterator[Floats]:
        """Yield P of each of x (L,) under the orders 1, 2, ..., `order`. `place`: (L,), its position in its text."""
        kinds = np.count_nonzero(self._single)
        p = (self._single[x] + kinds / self.size) / (self._single.sum() + kinds)
        yield p
        ranks = np.where(self._single[x] > 0, x, -1)
        for length, level in enumerate(self._levels, start=2):
            before = np.full(len(x), -1, dtype=np.int64)
            before[1:] = ranks[:-1]
            before[place < length - 1] = -1
            followed = np.where(before >= 0, level.followed[before], 0)
            kinds_after = level.kinds[before]
            code = before * self.size + x
            at = np.minimum(np.searchsorted(level.codes, code), len(level.codes) - 1)
            occurs = (before >= 0) & (level.codes[at] == code)
            count = np.where(occurs, level.counts[at], 0)
            p = np.where(followed > 0, (count + kinds_after * p) / np.maximum(followed + kinds_after, 1), p)
            yield p
            ranks = np.where(occurs, at, -1)


def symbols(text: Text) -> Ints:
    """Return the code points of a str, or the numbers themselves: (L,) int64."""
    if isinstance(text, str):
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
    return np.asarray(text, dtype=np.int64)


def places(lengths: Ints) -> Ints:
    """Return the position of each symbol of concatenated texts in its own: 0 ... L - 1 for each of `lengths`."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def ratio(totals: npt.ArrayLike, sizes: npt.ArrayLike) -> tuple[float, float]:
    """Return sum(totals) / sum(sizes), (n,) each, and its standard error (Cochran 1977, eq. 2.46, n unlimited)."""
    total, size = np.asarray(totals, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    mean = float(total.sum() / size.sum())
    if len(total) < 2:
        return mean, float("nan")
    squares = ((total - mean * size) ** 2).sum() / (len(total) - 1)
    return mean, float(np.sqrt(squares / len(total)) / size.mean())


def ladder(train: Text, held_out: Text, orders: Sequence[int] = range(1, 7)) -> list[tuple[int, float]]:
    """Return (order, bits per character of `held_out`) of models of `train`: the scale for any other model's bits."""
    model = NGram(train, max(orders))
    x = model._numbers(symbols(held_out))
    bits = {k: float(-np.log2(p).mean()) for k, p in enumerate(model._probabilities(x, np.arange(len(x))), start=1)}
    # a text shorter than the order has no longer grams
    return [(order, bits[min(order, len(bits))]) for order in orders]


def item_ladder(
    train: Sequence[str], held_out: Sequence[str], orders: Sequence[int] = range(1, 7)
) -> list[tuple[int, float, float]]:
    """Return (order, bits per character, standard error) of `held_out` items with their ends, for models of `train`."""
    return [(order, *NGram(train, order).bits_per_character(held_out)) for order in orders]
