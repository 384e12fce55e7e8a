"""Text as a modality: batches, texts and files, training on running text, items and pairs, and what can be asked."""

from __future__ import annotations

import json
import math
import unicodedata
from pathlib import Path

import pytest
import torch

import toolkit
from modalities.text import Text, options
from modalities.text.data.tokens import EOS, PAD, SEP
from modalities.text.evaluate import slot_accuracy
from modalities.text.evaluate.evaluator import references
from tests.run.points_run import forget_copies
from toolkit import recipe as recipes
from toolkit.diffusion.randomness import Draws
from toolkit.errors import DataError, ToolkitError, UsageError
from toolkit.recipe import Recipe
from toolkit.run import prepare
from toolkit.run.generator import Generator
from toolkit.training import loop

TINY = {
    "name": "tiny",
    "modality": "text",
    "model": {"preset": "smoke", "width": 16, "depth": 1, "dims": 8},
    "diffusion": {"time": {"name": "adaptive", "warmup": 2}},
    "train": {"steps": 4, "batch": 8, "previews": 0, "warmup": 1},
    "sample": {"steps": 3, "grid": "learned"},
}
VERSE = "to be or not to be, that is the question.\n"


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "play.txt"
    path.write_text(VERSE * 60, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of 3 to 8 letters, one in a line."""
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(f"{'abcdefgh'[i % 8]}{'xyz' * (1 + i % 3)}"[: 3 + i % 6] for i in range(200)), "utf-8")
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs: a word, and the word turned round."""
    path = tmp_path_factory.mktemp("pairs") / "turned.tsv"
    rows = [f"word{i}" for i in range(120)]
    path.write_text("word\tturned\n" + "".join(f"{row}\t{row[::-1]}\n" for row in rows), "utf-8")
    return path


def opened(source: Path, cache: Path, model: options.Model | None = None, **data: object) -> Text:
    text = Text(options.Data(source=str(source), **data), model or options.Model())  # type: ignore[arg-type]
    text.open(cache, lambda line: None)
    return text


def recipe_for(source: Path, **changes: object) -> Recipe:
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return recipes.replace(recipes.from_mapping({**TINY, "data": {"source": str(source)}}), changes)


def train(recipe: Recipe, out: Path) -> Generator:
    for _ in prepare.prepare(recipe, out, notify=lambda line: None).run():
        pass
    return toolkit.load(out, notify=lambda line: None)


@pytest.fixture(scope="module")
def speaker(play: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return train(recipe_for(play, data__length=32), tmp_path_factory.mktemp("runs") / "play")


def test_running_text_is_cut_anywhere_and_some_of_it_is_given(play: Path, tmp_path: Path) -> None:
    text = opened(play, tmp_path, options.Model(given=0.5), length=32)
    data = text.dataset("train")
    every, count = data.take(torch.arange(len(data))), len(data)
    made = [text.conditioning().batch(every, Draws(0, range(count), ("test", i))) for i in range(6)]
    starts = set()
    for raw, cond in made:
        assert raw.shape == (len(data), 32) and "mask" not in cond
        for said in text.texts(raw):
            assert said in VERSE * 3
            starts.add((VERSE * 3).index(said))
    assert len(starts) > len(VERSE) * 0.7
    share = torch.cat([cond["given"].flatten(1).any(1).float() for _, cond in made]).mean()
    assert 0.3 < float(share) < 0.6  # half of the examples, less those whose share of given tokens rounds to none
    told = torch.cat([cond["given"].flatten(1).mean(1) for _, cond in made])
    assert float(told.max()) < 1  # something is left to find
    levels = torch.cat([cond["scale"].log().sort(-1).values for _, cond in made])
    spread = options.Model().spread
    evenly = torch.linspace(-spread, spread, 65)[1::2]  # each example has all levels
    torch.testing.assert_close(levels, evenly.expand_as(levels), rtol=0, atol=1e-4)
    never = opened(play, tmp_path, options.Model(given=0, spread=0), length=32)
    assert set(never.conditioning().batch(data.take(torch.arange(4)), Draws(0, range(4), ("test",))).cond) == set()


def test_items_end_with_eos_and_padding_is_masked(names: Path, tmp_path: Path) -> None:
    text = opened(names, tmp_path, options.Model(given=0), items="line", length=16)
    data = text.dataset("train")
    raw, cond = text.conditioning().batch(data.take(torch.arange(20)), Draws(0, range(20), ("test",)))
    length = cond["mask"].sum((1, 2)).long()
    assert raw.shape[1] == int(length.max()) < 16
    for row, size in zip(raw, length.tolist(), strict=True):
        assert int(row[size - 1]) == EOS and bool((row[size:] == PAD).all()) and bool((row[: size - 1] > SEP).all())
    assert set(text.texts(raw)) <= set(names.read_text("utf-8").split())
    assert torch.equal(text.decode(text.encode(raw)), raw)


def test_of_a_pair_the_source_is_given_and_the_target_is_said(table: Path, tmp_path: Path) -> None:
    text = opened(table, tmp_path, length=32)
    assert text.facts.extra["paired"] is True
    data = text.dataset("train")
    raw, cond = text.conditioning().batch(data.take(torch.arange(10)), Draws(0, range(10), ("test",)))
    for row, given, said in zip(raw.tolist(), cond["given"][:, 0].tolist(), text.texts(raw), strict=True):
        source = row[: row.index(SEP)]
        assert given == [1.0] * (len(source) + 1) + [0.0] * (len(row) - len(source) - 1)
        assert text.codec.vocabulary.decode(source) == said[::-1]


def test_what_a_text_says(play: Path, names: Path, table: Path, tmp_path: Path) -> None:
    for source, items, wanted in ((play, "auto", "abc"), (names, "line", "a"), (table, "auto", "b")):
        text = opened(source, tmp_path, items=items, length=32)
        a, b, c = (int(text.codec.vocabulary.encode(letter)[0]) for letter in ("o", "r", "t"))
        if source == names:
            a, b, c = (int(text.codec.vocabulary.encode(letter)[0]) for letter in "axy")
        row = torch.tensor([[a, SEP, b, EOS, c, PAD]])
        said = text.texts(row)[0]
        one, two, three = (text.codec.vocabulary.decode([token]) for token in (a, b, c))
        # SEP stands for something in pairs alone, and EOS ends items alone
        assert said == {"abc": one + two + three, "a": one + two, "b": two}[wanted]


def test_files_are_the_texts_and_are_read_again(play: Path, tmp_path: Path) -> None:
    text = opened(play, tmp_path, length=32)
    said = ["to be\n", "", "not\r\nï\x1b"]
    rows = [text.codec.vocabulary.encode(one).tolist() for one in said]
    raw = torch.tensor([row + [PAD] * (20 - len(row)) for row in rows])
    paths = text.write(raw, tmp_path, ["0", "1", "2"])
    assert [path.read_bytes().decode("utf-8") for path in paths] == said
    assert [text.codec.vocabulary.decode(text.read(path).numpy()) for path in paths[:2]] == said[:2]
    assert text.view().lines(raw[2:]) == ["not␍", "ï␛", ""]
    assert text.view().rate(raw, 2.0) == "13 characters, 6 a second"
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    for missing in ("bad.txt", "none.txt"):
        with pytest.raises(DataError, match=r"cannot read .* as text"):
            text.read(tmp_path / missing)


def test_a_run_says_something_of_every_length(speaker: Generator) -> None:
    usual = speaker.sample(3, seed=1)
    assert usual.raw.shape == (3, 32) and int(usual.raw.min()) > 0
    again = speaker.sample(2, seed=1, batch=1)
    assert torch.equal(again.raw, usual.raw[:2]) or speaker.dtype is not None
    for length in (1, 2, 31, 33, 100):
        assert speaker.sample(2, length=length).raw.shape == (2, length)
    cold = speaker.sample(2, temperature=0.01)
    assert int(cold.raw.min()) > 0 and not torch.equal(cold.raw, speaker.sample(2).raw)


def test_a_text_with_holes_comes_back_filled_also_when_longer_than_trained(speaker: Generator) -> None:
    for text in ("to __ or not", "_", VERSE * 2 + "to be ____ the ques" + VERSE):
        found = speaker.sample(3, infill=text)
        vocabulary = speaker.modality.codec.vocabulary  # type: ignore[attr-defined]
        for row in found.raw.tolist():
            # holes are of one token each here, and a token may say nothing: so tokens are compared
            wanted = [list(map(int, vocabulary.encode(c))) if c != "_" else None for c in text]
            place = 0
            for ids in wanted:
                assert ids is None or row[place : place + len(ids)] == ids
                place += 1 if ids is None else len(ids)
            assert place == len(row)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"infill": "no holes"}, "no holes"),
        ({"infill": "a_", "length": 4}, "--infill says by itself"),
        ({"source": "a"}, "trained on two columns"),
        ({"temperature": 0}, "temperature"),
        ({"length": 0}, "length"),
        ({"lenght": 4}, "lenght"),
        ({"label": "king"}, "without labels"),
    ],
)
def test_what_cannot_be_asked_is_one_line(speaker: Generator, ask: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        speaker.sample(1, **ask)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_items_have_the_lengths_of_the_training(names: Path, tmp_path: Path) -> None:
    run = train(recipe_for(names, data__items="line", data__length=16), tmp_path / "run")
    sizes = (run.sample(60, steps=1).raw != PAD).sum(1)
    assert int(sizes.min()) >= 4 and int(sizes.max()) <= 9 and len(set(sizes.tolist())) >= 4
    for length in (1, 5, 20):  # what is asked for is the text; its end is one token more, and comes nowhere before
        found = run.sample(8, length=length, steps=1)
        assert found.raw.shape == (8, length + 1) and set(found.raw[:, -1].tolist()) == {EOS}
        assert not bool((found.raw[:, :-1] == EOS).any())
        known = run.modality.codec.vocabulary  # type: ignore[attr-defined]
        texts = run.modality.texts(found.raw)  # type: ignore[attr-defined]
        plain = [text for text, row in zip(texts, found.raw) if not set(row.tolist()) & set(known.escapes)]
        assert plain and {len(text) for text in plain} == {length}


def test_what_is_given_has_the_form_of_the_training(tmp_path: Path) -> None:
    """Composed and decomposed accents in the data become one form; so do those that a user types."""
    lines = [unicodedata.normalize(form, f"café {i}") for i in range(60) for form in ("NFC", "NFD")]  # type: ignore[arg-type]
    (tmp_path / "a.txt").write_text("\n".join(lines), "utf-8")
    run = train(recipe_for(tmp_path / "a.txt", data__items="line", data__length=16), tmp_path / "run")
    for typed in ("caf\u00e9 __", "cafe\u0301 __"):
        found = run.sample(2, infill=typed, steps=1)
        assert found.raw.shape == (2, 8)  # café, space, two holes, and the end
        assert all(text.startswith("caf\u00e9 ") for text in run.modality.texts(found.raw))  # type: ignore[attr-defined]
    (tmp_path / "b.tsv").write_text(
        "a\tb\n" + "".join(f"{line}\t{i} of them\n" for i, line in enumerate(lines)), "utf-8"
    )
    pairs = train(recipe_for(tmp_path / "b.tsv", data__length=32), tmp_path / "pairs")
    raw = pairs.sample(1, source="cafe\u0301 7", length=4, steps=1).raw
    assert pairs.modality.codec.sources(raw) == ["caf\u00e9 7"]  # type: ignore[attr-defined]
    assert raw.shape == (1, 6 + 1 + 4 + 1) and int(raw[0, -1]) == EOS and not bool((raw[0, :-1] == EOS).any())


def test_pairs_write_the_second_given_the_first(table: Path, tmp_path: Path) -> None:
    run = train(recipe_for(table, data__length=32), tmp_path / "run")
    raw = run.sample(4, source="word7").raw
    source = [*map(int, run.modality.codec.vocabulary.encode("word7")), SEP]  # type: ignore[attr-defined]
    assert all(row[: len(source)] == source for row in raw.tolist())
    with pytest.raises(UsageError, match="say what is given with --source TEXT"):
        run.sample(1)
    with pytest.raises(UsageError, match="this run takes 29 at most"):
        run.sample(1, source="w" * 30)


def test_resuming_gives_the_same_bits(play: Path, tmp_path: Path) -> None:
    recipe = recipe_for(play, data__length=32, train__steps=8)
    whole = prepare.prepare(recipe, tmp_path / "a", notify=lambda line: None)
    losses = [done.loss.hex() for done in loop.fit(whole.batches, whole.config, whole.state)]
    half = prepare.prepare(recipe, tmp_path / "b", notify=lambda line: None)
    steps = loop.fit(half.batches, half.config, half.state)
    first = [next(steps).loss.hex() for _ in range(5)]
    rest = prepare.prepare(recipe, tmp_path / "c", notify=lambda line: None)
    rest.state.restore(half.state.groups(), json.loads(json.dumps(half.state.scalars())))
    assert first + [done.loss.hex() for done in loop.fit(rest.batches, rest.config, rest.state)] == losses
    assert all(math.isfinite(float.fromhex(loss)) for loss in losses)
    size = whole.modality.codec.vocabulary.size  # type: ignore[attr-defined]
    assert float.fromhex(losses[0]) == pytest.approx(math.log(size - 1), rel=1e-3)


def test_a_run_without_its_time_distribution_is_damaged(speaker: Generator, play: Path, tmp_path: Path) -> None:
    train(recipe_for(play, data__length=32), tmp_path / "run")
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    (tmp_path / "run" / "recipe.toml").write_text(recipe.replace("warmup = 2", "warmup = 2\nbins = 32", 1))
    forget_copies(tmp_path / "run")  # or the recipe would be read from one
    with pytest.raises(ToolkitError, match="no time distribution that fits the recipe") as error:
        toolkit.load(tmp_path / "run", notify=lambda line: None)
    assert "\n" not in str(error.value)


def test_pairs_are_judged_by_what_their_sources_asked_for(table: Path, tmp_path: Path) -> None:
    text = opened(table, tmp_path, length=16, test=0.2)
    held = text.dataset("test")
    raw = held.take(torch.arange(len(held))).raw
    assert text.splits is not None
    known = references(text.splits)
    assert len(known) == len(held) and all(texts == [source[::-1]] for source, texts in known.items())
    exact, *others = slot_accuracy.describe(text.codec.sources(raw), text.texts(raw), known)
    assert exact.value == 1 and not others
    # what is drawn while training comes from all over the table, not from its beginning
    asked = text.conditioning().plan(text.SampleOptions(), None, 0, range(6))
    rows = torch.cat([torch.nn.functional.pad(one.cond["tokens"][:, 0], (0, 20))[:, :20] for one in asked])
    drawn = sorted(list(known).index(source) for source in text.codec.sources(rows))
    assert len(set(drawn)) == 6 and drawn[-1] - drawn[0] > len(held) / 2
