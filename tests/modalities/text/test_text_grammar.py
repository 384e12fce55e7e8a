"""Samples are text: whole characters and escapes, and what was given comes back, whatever the network says."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit
from modalities.text.conditioning import with_holes
from modalities.text.data import grammar, tokens
from modalities.text.data.tokens import DIGITS, EOS, ESC, FIRST_CHARACTER, PAD, SEP, Vocabulary
from modalities.text.infill import parse_holes
from modalities.text.network.denoiser import TokenDenoiser
from modalities.text.network.transformer import build
from modalities.text.options import Model
from tests.modalities.text.test_text_modality import recipe_for, train
from toolkit.diffusion import RectifiedFlow
from toolkit.run.generator import Generator

BPE = tokens.learn("bpe:300", np.zeros(1), ["naïve café ☃ and 字 and 😀 " * 40])
VOCABULARIES = {"char": Vocabulary("char", known=" abcdefg"), "byte": Vocabulary("byte"), "bpe": BPE}
ODD = "é☃字😀\ud7ff\ue000\U00010000\U0010ffff"
"""Two, three and four bytes, and what stands at the ends of their ranges; none is in the vocabularies of characters."""
texts = st.text(st.sampled_from("ab cde09" + ODD), min_size=1, max_size=8)


def loose(rows: list[list[int]]) -> np.ndarray:
    """No token is given."""
    return np.zeros((len(rows), len(rows[0]) if rows else 0), bool)


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("kind", VOCABULARIES)
@settings(max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_text_is_text(kind: str, items: bool, text: str) -> None:
    row = [VOCABULARIES[kind].encode(text).tolist()]
    assert grammar.of(VOCABULARIES[kind], items).valid(np.array(row, np.int64).reshape(1, -1), loose(row)).all()


@settings(max_examples=300)
@given(data=st.lists(st.sampled_from([0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED,
                                      0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF]), max_size=5))  # fmt: skip
def test_bytes_are_text_when_they_are_utf8(data: list[int]) -> None:
    try:
        bytes(data).decode("utf-8")
        right = True
    except UnicodeDecodeError:
        right = False
    row = np.array([[tokens.SPECIAL + byte for byte in data]], np.int64).reshape(1, -1)
    assert bool(grammar.of(VOCABULARIES["byte"], False).valid(row, loose(row.tolist()))[0]) == right


@settings(max_examples=400)
@given(st.lists(st.sampled_from([ESC, FIRST_CHARACTER, *(DIGITS + d for d in (0, 1, 2, 7, 8, 13, 15))]), max_size=9))
def test_escapes_are_text_when_they_are_written_as_they_are_read(row: list[int]) -> None:
    """Without zeros in front, so that there is one way to write a character."""
    char = VOCABULARIES["char"]
    letters = "".join("E" if x == ESC else "." if x == FIRST_CHARACTER else f"{x - DIGITS:x}" for x in row)
    points = [int(digits, 16) for digits in re.findall("E([0-9a-f]+)", letters)]
    right = re.fullmatch(r"(\.|E(0|[1-9a-f][0-9a-f]*))*", letters) is not None
    right = right and all(point < 0x110000 and not 0xD800 <= point < 0xE000 for point in points)
    ids = np.array([row], np.int64).reshape(1, -1)
    assert bool(grammar.of(char, False).valid(ids, loose([row]))[0]) == right
    if right:
        assert char.decode(ids[0]) == re.sub(r"E[0-9a-f]+|\.", lambda m: _one(m[0]), letters)


def _one(letters: str) -> str:
    return " " if letters == "." else chr(int(letters[1:], 16))


@pytest.mark.parametrize("point", [0, 1, 0xF, 0x10, 0xFF, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0xD8000, 0xFFFFF, 0x10FFFF])
def test_escapes_of_every_size(point: int) -> None:
    digits = [DIGITS + int(c, 16) for c in f"{point:x}"]
    char = VOCABULARIES["char"]
    rules = grammar.of(char, False)
    assert rules.valid(np.array([[ESC, *digits]]), loose([[0] * (1 + len(digits))])).all()
    assert char.decode([ESC, *digits]) == chr(point)


@pytest.mark.parametrize("digits", ["", "d800", "dfff", "110000", "200000", "1000000", "00", "01"])
def test_escapes_of_nothing(digits: str) -> None:
    row = [ESC, *(DIGITS + int(c, 16) for c in digits)]
    assert not grammar.of(VOCABULARIES["char"], False).valid(np.array([row]), loose([row])).any()


def test_ends_of_items_and_what_comes_behind_them() -> None:
    char, a = VOCABULARIES["char"], FIRST_CHARACTER
    items, running = grammar.of(char, True), grammar.of(char, False)
    for row, of_items, of_running in (
        ([a, EOS, DIGITS, ESC], True, False),  # what is behind an end is not read
        ([ESC, EOS, a, a], False, False),
        ([a, SEP, a, a], True, True),
        ([ESC, DIGITS + 1, SEP, DIGITS], False, False),  # decoded it would be one escape
        ([a, PAD, a, a], False, False),
        ([a, EOS, PAD, a], False, False),
    ):
        ids = np.array([row])
        assert (items.valid(ids, loose([row]))[0], running.valid(ids, loose([row]))[0]) == (of_items, of_running), row


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("fixed", [(), (0,), (1,), (2,), (0, 2)])
def test_the_nearest_text_is_that_of_all_rows(items: bool, fixed: tuple[int, ...]) -> None:
    """Against every row of three tokens there is."""
    small = Vocabulary("char", known="a")
    rules, rng = grammar.of(small, items), np.random.default_rng(0)
    rows = np.array(list(itertools.product(range(small.size), repeat=3)))
    told = np.zeros((1, 3), bool)
    told[:, list(fixed)] = True
    told_tokens = np.full((1, 3), FIRST_CHARACTER)
    every = rows[(rows[:, list(fixed)] == FIRST_CHARACTER).all(1)]
    right = every[rules.valid(every, np.broadcast_to(told, every.shape))]
    assert 0 < len(right) < len(every) or len(fixed) == 3
    for _ in range(20):
        scores = rng.normal(size=(1, 3, small.size))
        scores[..., PAD] = -np.inf
        found = rules.nearest(scores, told_tokens, told)[0]
        free = [place for place in range(3) if place not in fixed]
        sums = scores[0][np.arange(3)[None], right][:, free].sum(1)
        assert rules.valid(found[None], told).all() and (found[list(fixed)] == FIRST_CHARACTER).all()
        assert scores[0][np.arange(3), found][free].sum() == pytest.approx(sums.max())


def test_where_there_is_no_text_a_row_stays_as_it_is() -> None:
    rules = grammar.of(VOCABULARIES["byte"], False)
    scores = np.full((1, 1, 259), -np.inf)
    scores[..., 3 + 0xC3] = 1.0  # half a character is all that may come
    found = rules.nearest(scores, np.array([[7]]), np.array([[False]]))
    assert found.tolist() == [[7]]


def denoiser(vocabulary: Vocabulary, items: bool) -> TokenDenoiser:
    net = build(Model(preset="smoke", width=16, depth=1, dims=16), vocabulary.size, 0)
    return TokenDenoiser(net, RectifiedFlow(), grammar=grammar.of(vocabulary, items))


DENOISERS = {
    (kind, items): denoiser(vocabulary, items) for kind, vocabulary in VOCABULARIES.items() for items in (False, True)
}


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("kind", VOCABULARIES)
@settings(max_examples=40)
@given(parts=st.lists(texts, min_size=1, max_size=3), holes=st.lists(st.integers(1, 4), min_size=3, max_size=3),
       first=st.booleans(), seed=st.integers(0, 2**20))  # fmt: skip
def test_what_is_given_comes_back(
    kind: str, items: bool, parts: list[str], holes: list[int], first: bool, seed: int
) -> None:
    """Around holes of any size that noise is to fill, each of which is text by itself."""
    vocabulary, made = VOCABULARIES[kind], DENOISERS[kind, items]
    pieces = [piece for part, hole in zip(parts, holes) for piece in (part, "_" * hole)]
    text = "".join(pieces if not first else ["_", *pieces])
    cond = with_holes(text, vocabulary, 2, items)
    cond["endless"] = torch.ones(2)
    x = torch.randn(2, 16, cond["tokens"].shape[-1], generator=torch.Generator().manual_seed(seed))
    found = made.unembed(x, cond)
    told = cond["given"][:, 0] > 0
    assert torch.equal(found[told], cond["tokens"][:, 0][told])
    for row in found:
        said, pieces = vocabulary.decode(row.numpy()), _pieces(vocabulary, row.tolist(), told[0].tolist())
        assert "\ufffd" not in said
        assert said == "".join(piece for piece, _ in pieces)  # no piece reaches into another
        known = [piece for piece, is_given in pieces if is_given and piece]
        assert known == [part for part in parse_holes(text) if isinstance(part, str)]


def _pieces(vocabulary: Vocabulary, row: list[int], told: list[bool]) -> list[tuple[str, bool]]:
    """Return the text of each run of tokens that are all given or all sampled, and True where they are given."""
    groups = itertools.groupby(zip(row, told, strict=True), key=lambda pair: pair[1])
    return [(vocabulary.decode([token for token, _ in group]), is_given) for is_given, group in groups]


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_samples_of_noise_are_text_and_right_ones_stay(kind: str) -> None:
    vocabulary, made = VOCABULARIES[kind], DENOISERS[kind, True]
    noise = torch.randn(64, 16, 24, generator=torch.Generator().manual_seed(0))
    nearest = (noise.transpose(1, 2) @ made.table[1:].T).argmax(-1) + 1
    broken = [row for row in nearest if "\ufffd" in vocabulary.decode(row[: _end(row)].numpy())]
    assert broken  # by itself noise is no text
    found = made.unembed(noise)
    assert not [row for row in found if "\ufffd" in vocabulary.decode(row[: _end(row)].numpy())]
    right = torch.tensor([[*vocabulary.encode("é a ☃ b").tolist(), EOS]])
    assert torch.equal(made.unembed(made.embed(right)), right)
    padded = made.embed(right) * (torch.arange(right.shape[1]) < len(vocabulary.encode("é ")))
    assert vocabulary.decode(made.unembed(padded)[0].numpy()) == "é "


def _end(row: torch.Tensor) -> int:
    """Return the place where an item ends."""
    return row.tolist().index(EOS) if EOS in row.tolist() else len(row)


def test_the_scale_of_a_token_is_no_vote() -> None:
    """x = scale E: a place that has much less noise does not outweigh the others."""
    made, vocabulary = DENOISERS["byte", False], VOCABULARIES["byte"]
    x = torch.randn(8, 16, 12, generator=torch.Generator().manual_seed(1))
    scale = torch.linspace(-3, 3, 12).exp().expand(8, 1, -1)
    assert torch.equal(made.unembed(x, {}), made.unembed(x * scale, {"scale": scale}))
    assert "\ufffd" not in "".join(vocabulary.decode(row.numpy()) for row in made.unembed(x * scale, {"scale": scale}))


@pytest.fixture(scope="module", params=["char", "byte", "bpe:300"])
def speaker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """A run that has hardly learned anything, which is what breaks characters most."""
    folder = tmp_path_factory.mktemp("grammar")
    (folder / "play.txt").write_text("to be or not to be, that is the question.\n" * 60, encoding="utf-8")
    recipe = recipe_for(folder / "play.txt", data__length=32, data__tokens=request.param)
    train(recipe, folder / "run")
    return toolkit.load(folder / "run", notify=lambda line: None)


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_run_fills_holes_beside_characters_that_it_never_saw(speaker: Generator, restarts: int) -> None:
    modality = speaker.modality
    for text in ("café____naïve ☃__", "_字_😀_", "not __ be"):
        for said in modality.texts(speaker.sample(8, infill=text, restarts=restarts).raw):  # type: ignore[attr-defined]
            assert "\ufffd" not in said
            place = 0
            for part in parse_holes(text):
                if isinstance(part, str):
                    place = said.index(part, place) + len(part)
    long = "é" * 30 + "____" + "☃" * 30  # longer than in training: by windows
    said = modality.texts(speaker.sample(2, infill=long).raw)  # type: ignore[attr-defined]
    assert all(one.startswith("é" * 30) and one.endswith("☃" * 30) and "\ufffd" not in one for one in said)
    assert not any("\ufffd" in one for one in modality.texts(speaker.sample(8).raw))  # type: ignore[attr-defined]


def test_the_grammar_of_a_vocabulary_is_made_once() -> None:
    assert grammar.of(BPE, True) is grammar.of(Vocabulary.from_text(BPE.to_text()), True)
    assert grammar.of(BPE, True) is not grammar.of(BPE, False)
