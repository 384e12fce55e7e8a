"""Agreement of labels and of their parts, and how a share is printed."""

from __future__ import annotations

import pytest
import torch

from toolkit.evaluation.agreement import agreement, parts, share


def test_agreement_on_the_whole_label_and_on_a_part() -> None:
    asked, seen = ("3-theo", "4-theo", "4-jackson"), ("3-theo", "4-jackson", "9-theo")
    assert agreement(asked, seen).tolist() == [True, False, False]
    assert agreement(asked, seen, 0).tolist() == [True, True, False]
    assert agreement(asked, seen, 1).tolist() == [True, False, False]
    assert parts(asked) == 2 and parts(("kick", "snare", "hi-hat")) == 1 and parts(("a", "b")) == 1
    with pytest.raises(ValueError, match="1 asked and 2 seen"):
        agreement(("a",), ("a", "b"))
    with pytest.raises(ValueError, match="'kick' has no part 1"):
        agreement(("hi-hat", "kick"), ("hi-hat", "hi-hat"), 1)


def test_share_is_printed_with_its_interval() -> None:
    right = torch.tensor([True] * 81 + [False] * 182)
    assert share(right) == "30.8 % (25.5 to 36.6)"
    assert share(torch.zeros(20, dtype=torch.bool)) == "0.0 % (0.0 to 16.1)"
