"""Restarts of texts: other tokens become noise each time, and what does not fit is written anew."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from modalities.text.data.tokens import Vocabulary
from modalities.text.modality import Text
from modalities.text.network import token_noise
from modalities.text.options import Data, Model
from tests.modalities.text.laws import DIMS, LENGTH, Law, V, chain
from toolkit.diffusion import GRIDS, RectifiedFlow
from toolkit.modality import Facts, Request
from toolkit.recipe import from_mapping
from toolkit.run.generator import Generator

SPREAD, ROWS, STEPS, BACK = 4.0, 400, 96, 32
EXTRA = {"vocabulary": Vocabulary("byte").to_text(), "items": False, "paired": False}


class Blind(Law):
    """The exact posterior of a chain where noise is below a level; above it, tokens are told each by itself."""

    def __init__(self, above: float) -> None:
        super().__init__(*chain())
        self.above = above

    def logits(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        known = self.following
        if float(t.max()) > self.above:
            self.following = self.start.expand(V, V)
        found = super().logits(x_t, t, cond)
        self.following = known
        return found


def made(blind: bool = False) -> Generator:
    """Texts of a chain; `blind`: on all steps but the last that a restart takes again."""
    ends = {"sigma_min": 0.1 * DIMS**0.5 / math.exp(SPREAD), "sigma_max": 10 * DIMS**0.5 * math.exp(SPREAD)}
    recipe = from_mapping(
        {
            "name": "chain", "modality": "text", "train": {"steps": 1, "precision": "fp32"},
            "sample": {
                "sampler": "euler-ancestral", "grid": {"name": "log-snr", **ends}, "steps": STEPS, "back": BACK,
            },
        },
        "text",
    )  # fmt: skip
    times = GRIDS["log-snr"](RectifiedFlow(), STEPS, **ends)
    text = Text(Data(), Model(spread=SPREAD, dims=DIMS), Facts(shape=(LENGTH,), count=ROWS, extra=EXTRA))
    return Generator(recipe, text, Blind(float(times[-BACK - 1]) + 1e-9 if blind else 1.0), torch.device("cpu"))


def ask(generator: Generator, cond: dict[str, Tensor] | None = None) -> Request:
    request = Request(tuple(range(ROWS)), (LENGTH,), cond or {})
    return generator.modality.conditioning().redraw(request, 0, range(ROWS), 0)


def written(generator: Generator, restarts: int) -> Tensor:
    (*_, last) = generator.trajectory(range(ROWS), restarts=restarts, request=ask(generator))
    assert not last.x.requires_grad  # although embeddings are learned
    return generator.denoiser.unembed(last.x)


def fits(rows: Tensor) -> float:
    """The share of tokens that follow as they mostly do: 0.8 in the chain itself."""
    return float((rows[:, 1:] == rows[:, :-1] % (V - 1) + 1).float().mean())


def test_restarts_leave_the_texts_of_an_exact_model_what_they_are() -> None:
    """4,400 pairs: the standard error is 0.006."""
    for restarts in (0, 4):
        rows = written(made(), restarts)
        assert abs(fits(rows) - 0.8) < 0.025
        counts = torch.bincount(rows.flatten(), minlength=V)
        assert int(counts[0]) == 0  # padding is no word
        assert float(counts[1:].float().std() / counts[1:].float().mean()) < 0.1  # and all words are used alike


def test_restarts_mend_what_was_decided_without_regard_to_neighbours() -> None:
    plain, mended = (fits(written(made(blind=True), restarts)) for restarts in (0, 8))
    assert plain < 0.5 and 0.7 < mended < 0.82


def test_levels_are_drawn_anew_in_each_round_and_a_text_has_its_own() -> None:
    first, second, third = (token_noise.scales(2.0, 9, 1, range(20), round=r)["scale"] for r in range(3))
    assert torch.equal(first, token_noise.scales(2.0, 9, 1, range(20))["scale"])
    for one, other in ((first, second), (second, third), (first, third)):
        assert torch.allclose(one.sort(-1).values, other.sort(-1).values) and not torch.equal(one, other)
    assert torch.equal(token_noise.scales(2.0, 9, 1, [7, 2], round=2)["scale"], third[[7, 2]])


def test_what_else_is_asked_of_a_text_stays_in_a_restart() -> None:
    generator = made()
    cond = {"given": torch.ones(ROWS, 1, LENGTH), "temperature": torch.full((ROWS,), 0.5)}
    first = ask(generator, cond)
    again = generator.modality.conditioning().redraw(first, 0, range(ROWS), 1)
    assert set(again.cond) == {"given", "temperature", "scale"} and again.which == first.which
    assert torch.equal(again.cond["given"], cond["given"]) and not torch.equal(again.cond["scale"], first.cond["scale"])
