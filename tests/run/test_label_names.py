"""Labels as they are asked for: the user's names are never taken for words of ours."""

from __future__ import annotations

import unicodedata

import pytest

from toolkit.errors import UsageError
from toolkit.run.compose import label_numbers

NFD = unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(("label", "known", "numbers"), [
    ("none", ("cat", "dog"), [2, 2]),
    ("none", ("cat", "none"), [1, 1]),  # a class of that name is that class
    ("", ("cat", "none"), [2, 2]),  # and no label can still be asked for
    (NFD, ("café", "tee"), [0, 0]),
    ("café", (NFD, "tee"), [0, 0]),
    ("a, b", ("a, b", "c"), [0, 0]),  # a comma in a name is no list
    ("c,a, b", ("a", "b", "c"), [2, 0]),
    ([3, "1"], ("1", "2", "3"), [2, 0]),
    (None, ("x", "y"), [0, 1]),
])  # fmt: skip
def test_names_are_the_users(label: object, known: tuple[str, ...], numbers: list[int]) -> None:
    n = 3 if label == "c,a, b" else 2
    assert label_numbers(label, known, n)[:2] == numbers  # type: ignore[arg-type, index]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'snare'"):
        label_numbers("snair", ("kick", "snare"), 1)
    assert label_numbers("", (), 3) is None
