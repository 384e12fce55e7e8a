"""Every metric has a sentence, and no sentence is for a metric that there is not."""

from __future__ import annotations

import pytest

from modalities.audio.evaluate.signal_metrics import MEANINGS as SOUNDS
from modalities.text.evaluate.evaluator import MEANINGS as TEXTS
from toolkit import recipe as recipes
from toolkit.evaluation.meaning import MEANINGS, meaning
from toolkit.evaluation.metrics.all import MEASURES
from toolkit.evaluation.self_loss import OWN


@pytest.mark.parametrize("name", [*(measure.what for measure in MEASURES), *OWN, "agreement", "copies", "nearest"])
def test_every_metric_of_the_core_has_its_own_sentence(name: str) -> None:
    assert name in MEANINGS and meaning(name) == MEANINGS[name]


@pytest.mark.parametrize("recipe", recipes.list_recipes())
def test_every_metric_that_a_recipe_expects_has_one(recipe: str) -> None:
    further = {"text": TEXTS, "audio": SOUNDS}.get(recipe.split("/")[0], {})
    for section in (recipes.load(recipe).expected, recipes.load(recipe).smoke):
        assert all(meaning(name, further) for name in section.figures), section.figures.keys()


def test_patterns_and_what_is_unknown() -> None:
    assert meaning("agreement/7") == MEANINGS["agreement/*"] != meaning("agreement")
    assert meaning("bits/dim: flow") == MEANINGS["bits/*: flow"] and meaning("bits/dim") == MEANINGS["bits/*"]
    assert meaning("distinct-3", TEXTS) == TEXTS["distinct-*"] and meaning("distinct-3") == ""
    assert meaning("valid words, each once", TEXTS) != meaning("valid words", TEXTS)
    assert meaning("my own", {"my *": "Mine."}) == "Mine."
    assert meaning("FD", {"FD": "Mine."}) == "Mine."


def test_sentences_are_sentences() -> None:
    for said in (*MEANINGS.values(), *TEXTS.values(), *SOUNDS.values()):
        assert said[0].isupper() and said.endswith(".") and len(said) < 90 and "\n" not in said
