"""Pairs: did the text say what it was to say."""

from __future__ import annotations

import math

from modalities.text.evaluate import slot_accuracy

SOURCE = "name[The Eagle], area[city centre], familyFriendly[no], priceRange[less than £20]"


def test_values_that_a_text_can_repeat() -> None:
    assert slot_accuracy.slots(SOURCE) == ["The Eagle", "city centre", "less than £20"]
    assert slot_accuracy.slots("Hamlet") == []


def test_values_and_references_are_counted_and_stand_beside_people() -> None:
    people = {SOURCE: ["The Eagle in the City Centre.", "The Eagle is less than £20.", "The Eagle in the City Centre."]}
    written = ["The Eagle in the City Centre.", "A pub in the riverside area."]
    exact, told = slot_accuracy.describe([SOURCE, SOURCE], written, people)
    assert (exact.name, exact.value) == ("exact", 0.5)
    assert math.isclose(exact.reference, 2 / 3)  # the first and the third are alike
    assert (told.name, told.value) == ("slots told", 2 / 6)  # of the first text, and none of the second
    assert math.isclose(told.reference, 6 / 9)


def test_sources_without_slots_and_without_references() -> None:
    assert slot_accuracy.describe(["unknown"], ["x"], {"Hamlet": ["telmaH"]}) == []
    (exact,) = slot_accuracy.describe(
        ["Hamlet", "Hamlet", "unknown"], ["telmaH", "telmah", "x"], {"Hamlet": ["telmaH"]}
    )
    assert exact.value == 0.5 and math.isnan(exact.reference)
