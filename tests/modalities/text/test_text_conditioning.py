"""From what is asked of a text to its length, its given tokens and its windows."""

from __future__ import annotations

import pytest
import torch

from modalities.text import conditioning
from modalities.text.data.tokens import EOS, SEP, Vocabulary
from modalities.text.options import SampleOptions
from toolkit.errors import UsageError

CHARS = Vocabulary("char", known="\n abcdefghijklmnopqrstuvwxyz")


def ids(text: str) -> list[int]:
    return list(map(int, CHARS.encode(text)))


def test_lengths_are_drawn_from_their_quantiles() -> None:
    """Half of the items have 4 tokens, the other half 10 to 20 evenly."""
    quantiles = [4.0] * 51 + [10 + 10 * i / 49 for i in range(50)]
    drawn = conditioning.draw(quantiles, 0, range(4000))
    assert float((drawn == 4).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert int(drawn.min()) == 4 and int(drawn.max()) == 20
    assert float(drawn[drawn >= 10].float().mean()) == pytest.approx(15, abs=0.4)
    assert torch.equal(conditioning.draw(quantiles, 0, [7, 3]), drawn[[7, 3]])  # a function of seed and position
    assert not torch.equal(conditioning.draw(quantiles, 1, range(4000)), drawn)
    assert conditioning.draw([0.0] * 101, 0, range(3)).tolist() == [1, 1, 1]


def test_texts_of_one_length_come_together_in_their_places() -> None:
    made = conditioning.of_length(torch.tensor([5, 9, 5, 3, 9]), 8, 1.0)
    assert [(job.which, job.shape, job.window) for job in made] == [
        ((3,), (3,), None), ((0, 2), (5,), None), ((1, 4), (9,), 8),
    ]  # fmt: skip
    assert all(job.cond == {} for job in made)
    warm = conditioning.of_length(torch.tensor([5, 5]), 8, 0.7)[0]
    assert warm.cond["temperature"].tolist() == pytest.approx([0.7, 0.7])


def test_every_row_takes_its_own_conditions_along_and_no_more_than_its_length() -> None:
    tokens = torch.arange(18).reshape(3, 1, 6)
    made = conditioning.of_length(torch.tensor([6, 2, 6]), 8, 1.0, {"tokens": tokens})
    assert made[0].which == (1,) and made[0].cond["tokens"].tolist() == [[[6, 7]]]
    assert made[1].which == (0, 2) and torch.equal(made[1].cond["tokens"], tokens[[0, 2]])


def test_holes() -> None:
    found = conditioning.with_holes(r"to __ or \_", CHARS, 3, item=False)
    assert found["tokens"].shape == found["given"].shape == (3, 1, 12)
    # the underscore itself is no character of this vocabulary: ESC and two digits
    wanted = [*ids("to "), EOS, EOS, *ids(" or "), *ids("_")]
    assert len(ids("_")) == 3
    short = conditioning.with_holes("to __ or_", CHARS, 1, item=False)
    assert short["tokens"][0, 0].tolist() == [*ids("to "), EOS, EOS, *ids(" or"), EOS]
    assert short["given"][0, 0].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 0]
    assert found["tokens"][2, 0].tolist() == wanted
    ended = conditioning.with_holes("_b", CHARS, 1, item=True)
    assert ended["tokens"][0, 0].tolist() == [EOS, *ids("b"), EOS] and ended["given"][0, 0].tolist() == [0, 1, 1]


def test_a_hole_has_as_many_tokens_as_text_of_its_size() -> None:
    """Pairs of bytes: eight letters around it take four tokens, so four holes take two. Never less than one."""
    pairs = Vocabulary("bpe", merges=((97, 98),))
    found = conditioning.with_holes("abababab____", pairs, 1, item=False)
    assert found["given"][0, 0].tolist() == [1] * 4 + [0] * 2
    assert conditioning.with_holes("abababab_", pairs, 1, item=False)["tokens"].shape[-1] == 5
    assert conditioning.with_holes("____", pairs, 1, item=False)["tokens"].shape[-1] == 4
    # two bytes a character
    assert conditioning.with_holes("éé__", Vocabulary("byte"), 1, item=False)["tokens"].shape[-1] == 8


@pytest.mark.parametrize("text", ["no holes", "", r"only \_ real ones"])
def test_a_text_without_holes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no holes; write _"):
        conditioning.with_holes(text, CHARS, 1, item=False)


def test_a_source_and_its_target() -> None:
    length, given = conditioning.with_source("abc", CHARS, torch.tensor([2, 5, 99]), trained=12)
    assert length.tolist() == [6, 9, 12]  # the last target is cut to what fits
    assert given["tokens"].shape == (3, 1, 12)
    assert given["tokens"][1, 0].tolist() == [*ids("abc"), SEP, *[EOS] * 8]
    assert given["given"][1, 0].tolist() == [1] * 4 + [0] * 8
    fits, _ = conditioning.with_source("a" * 9, CHARS, torch.tensor([5]), trained=12)
    assert fits.tolist() == [12]
    with pytest.raises(UsageError, match="--source has 10 tokens, and this run takes 9 at most"):
        conditioning.with_source("a" * 10, CHARS, torch.tensor([5]), trained=12)


@pytest.mark.parametrize(
    ("ask", "paired", "said"),
    [
        (SampleOptions(infill="a_", length=5), False, "leave --length and --source out"),
        (SampleOptions(infill="a_", source="b"), True, "leave --length and --source out"),
        (SampleOptions(source="b"), False, "trained on two columns; this one was not"),
        (SampleOptions(source="b", length=9), True, ""),
        (SampleOptions(infill="a_", temperature=0.5), False, ""),
        (SampleOptions(), True, ""),
    ],
)
def test_what_does_not_go_together(ask: SampleOptions, paired: bool, said: str) -> None:
    found = conditioning.contradiction(ask, paired)
    assert said in found and bool(said) == bool(found) and "\n" not in found


def test_conditions_of_a_batch_are_there_only_where_they_say_something() -> None:
    tokens = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
    cond = conditioning.conditions(tokens, torch.tensor([4, 2]), torch.tensor([[True] * 2 + [False] * 2, [False] * 4]))
    assert cond["mask"][:, 0].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert cond["given"][:, 0].tolist() == [[1, 1, 0, 0], [0] * 4]
    assert conditioning.conditions(tokens, torch.tensor([4, 4]), None) == {}
    assert conditioning.conditions(tokens, torch.tensor([4, 4]), torch.zeros(2, 4, dtype=torch.bool)) == {}


def test_a_length_that_does_not_fit_behind_its_source_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--length 30 does not fit behind this --source: 20 tokens do"):
        conditioning.with_source("a" * 10, CHARS, torch.tensor([31]), 32, 31)
    length, given = conditioning.with_source("a" * 10, CHARS, torch.tensor([31]), 32)
    assert int(length) == 32 and int(given["given"].sum()) == 11
