"""The orders of tokens that are text: whole UTF-8 characters, and whole escapes.

What is sampled is a point near a row of embeddings. `Grammar.nearest` finds the nearest row that is text and has what
is given in its place: the likeliest path through an automaton (Viterbi 1967), place by place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from modalities.text.data.tokens import DIGITS, EOS, ESC, FIRST_CHARACTER, PAD, SEP, SPECIAL, Vocabulary

NO = -1
"""No state: such a token may not come here."""


@dataclass(frozen=True, eq=False)
class Grammar:
    """An automaton over kinds of tokens; every text begins in state 0."""

    kinds: np.ndarray
    """(V,) int64: the kind of each token; those of one kind lead from each state to the same one."""
    step: np.ndarray
    """(S, K) int64: the state after a token of a kind, or NO."""
    whole: np.ndarray
    """(S,) bool: states in which a text may end, and given text may begin."""
    over: int | None
    """The state behind the end of an item, where anything may come as it is not read; None: texts have no end."""

    def valid(self, tokens: np.ndarray, fixed: np.ndarray) -> np.ndarray:
        """Return which rows of tokens (B, L) are text: (B,) bool. fixed: (B, L) bool, tokens of whole given texts."""
        table = np.vstack([self.step, np.full(self.step.shape[1], NO)])  # from NO, at -1, there is no way on
        state = np.zeros(len(tokens), np.int64)
        for place in range(tokens.shape[1]):
            after = self._behind_given(tokens[:, place])
            told = np.where(self._is_whole(state), np.where(state == self._over, state, after), NO)
            state = np.where(fixed[:, place], told, table[state, self.kinds[tokens[:, place]]])
        return self._is_whole(state)

    def nearest(self, scores: np.ndarray, tokens: np.ndarray, fixed: np.ndarray) -> np.ndarray:
        """Return the rows (B, L) of text whose tokens have the largest sum of `scores` (B, L, V), -inf = never.

        Where `fixed`, (B, L) bool, the token is that of `tokens`. A row for which there is none stays as it is.
        """
        rows, length = tokens.shape
        best, which = self._best_of_kinds(scores)
        source, kind, target = self._ways
        value = np.full((rows, len(self.step)), -np.inf)
        value[:, 0] = 0
        came = np.zeros((rows, length, len(self.step)), np.int64)
        """The way by which each state is best reached, or, behind a given token, the state before."""
        for place in range(length):
            told = fixed[:, place]
            along = value[:, source] + best[:, place, kind]
            after = np.full_like(value, -np.inf)
            for number in range(len(self.step)):
                ways = np.flatnonzero(target == number)
                if len(ways):
                    chosen = along[:, ways].argmax(1)
                    after[:, number] = along[np.arange(rows), ways[chosen]]
                    came[:, place, number] = ways[chosen]
            if told.any():
                given, before = self._past_given(value, tokens[:, place])
                after[told], came[told, place] = given[told], before[told]
            value = after
        state = np.where(self.whole, value, -np.inf).argmax(1)
        result = tokens.copy()
        feasible = value[np.arange(rows), state] > -np.inf
        each = np.arange(rows)
        for place in reversed(range(length)):
            told, way = fixed[:, place], came[each, place, state]
            result[:, place] = np.where(told, tokens[:, place], which[each, place, kind[np.where(told, 0, way)]])
            state = np.where(told, way, source[np.where(told, 0, way)])
        return np.where(feasible[:, None], result, tokens)

    @cached_property
    def _ways(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All steps that there are: state, kind of the token, state after it."""
        source, kind = np.nonzero(self.step != NO)
        return source, kind, self.step[source, kind]

    @property
    def _over(self) -> int:
        return NO - 1 if self.over is None else self.over

    def _is_whole(self, state: np.ndarray) -> np.ndarray:
        return np.append(self.whole, False)[state]

    def _behind_given(self, tokens: np.ndarray) -> np.ndarray:
        """The state behind given tokens (B,), if a text may begin there."""
        return np.where((tokens == EOS) & (self.over is not None), self._over, 0)

    def _past_given(self, value: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values of the states behind a given token, and the state before it: (B, S) each."""
        rows = np.arange(len(value))
        after, before = np.full_like(value, -np.inf), np.zeros(value.shape, np.int64)
        may = np.where(self.whole, value, -np.inf)
        if self.over is not None:
            after[:, self.over], before[:, self.over] = may[:, self.over], self.over
            may[:, self.over] = -np.inf
        source, target = may.argmax(1), self._behind_given(tokens)
        better = may[rows, source] > after[rows, target]
        after[rows[better], target[better]] = may[rows, source][better]
        before[rows[better], target[better]] = source[better]
        return after, before

    def _best_of_kinds(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, L, K): the best score among the tokens of each kind, and which token it is."""
        best = np.full((*scores.shape[:2], self.step.shape[1]), -np.inf)
        which = np.zeros(best.shape, np.int64)
        for kind in range(self.step.shape[1]):
            of_kind = np.flatnonzero(self.kinds == kind)
            part = scores[..., of_kind]
            chosen = part.argmax(-1)
            best[..., kind] = np.take_along_axis(part, chosen[..., None], -1)[..., 0]
            which[..., kind] = of_kind[chosen]
        return best, which


@lru_cache(maxsize=4)
def of(vocabulary: Vocabulary, items: bool) -> Grammar:
    """Return the grammar of a vocabulary. items: a text ends with EOS; else EOS and SEP stand between texts."""
    rows, whole = _escapes(vocabulary) if vocabulary.kind == "char" else _utf8(vocabulary)
    count = len(whole)
    rows[EOS] = np.where(whole, count if items else 0, NO)
    rows[SEP] = np.where(whole, 0, NO)
    if items:
        rows = np.column_stack([rows, np.full(len(rows), count)])
        whole = np.append(whole, True)
    rows[PAD] = NO
    kinds, index = np.unique(rows, axis=0, return_inverse=True)
    return Grammar(index.reshape(-1), np.ascontiguousarray(kinds.T), whole, count if items else None)


def _utf8(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """(V, S) int64: where each token leads from each state; (S,) bool: where a character is whole. RFC 3629.

    States 1, 2 and 3 want so many more bytes; 4 to 7 are behind E0, ED, F0 and F4, which not every byte may follow.
    """
    step = np.full((9, 256), NO, np.int64)  # from NO, at -1, there is no way on
    for state, first, last, after in (
        (0, 0x00, 0x7F, 0), (0, 0xC2, 0xDF, 1), (0, 0xE0, 0xE0, 4), (0, 0xE1, 0xEC, 2), (0, 0xED, 0xED, 5),
        (0, 0xEE, 0xEF, 2), (0, 0xF0, 0xF0, 6), (0, 0xF1, 0xF3, 3), (0, 0xF4, 0xF4, 7), (1, 0x80, 0xBF, 0),
        (2, 0x80, 0xBF, 1), (3, 0x80, 0xBF, 2), (4, 0xA0, 0xBF, 1), (5, 0x80, 0x9F, 1), (6, 0x90, 0xBF, 2),
        (7, 0x80, 0x8F, 2),
    ):  # fmt: skip
        step[state, first : last + 1] = after
    rows = np.full((vocabulary.size, 8), NO, np.int64)
    for token, data in enumerate(vocabulary.token_bytes, SPECIAL):
        rows[token] = np.arange(8)
        for byte in data:
            rows[token] = step[rows[token], byte]
    return rows, np.arange(8) == 0


def _escapes(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Return as `_utf8` does, for characters and ESC with digits: a code point, first digit not 0, no surrogate.

    States: 0 between characters; 1 behind ESC; 2 to 6 behind 1 to 5 digits of any number; 7 to 12 behind 1 to 6 digits
    of one that begins with 10, of which alone there are six; 13 behind D, 14 and 15 behind D8 to DF and one digit more,
    16 behind all four of a surrogate, which has to go on; 17 behind 0.
    """
    digits = np.full((18, 16), NO, np.int64)
    digits[1] = [17, 7, *[2] * 11, 13, 2, 2]
    digits[2:6] = np.arange(3, 7)[:, None]
    digits[7] = [8, *[3] * 15]
    digits[8:12] = np.arange(9, 13)[:, None]
    digits[13] = [*[3] * 8, *[14] * 8]
    digits[14], digits[15], digits[16] = 15, 16, 6
    whole = ~np.isin(np.arange(18), [1, 16])
    rows = np.full((vocabulary.size, 18), NO, np.int64)
    rows[ESC] = np.where(whole, 1, NO)
    rows[DIGITS:FIRST_CHARACTER] = digits.T
    rows[FIRST_CHARACTER:] = np.where(whole, 0, NO)
    return rows, whole
