"""The laws of the contract, on each of our modalities and on the one-file one; tiny networks on bundled data."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image
import pytest
import torch
from torch import Tensor

import toolkit
from modalities.audio.evaluate.judge import SoundJudge
from modalities.image.evaluate.judge import PictureJudge
from modalities.text.evaluate import judge as text_judge
from tests.conftest import ROOT
from tests.run.test_prepare import quiet
from toolkit import recipe as recipes
from toolkit.diffusion import Denoiser
from toolkit.diffusion.randomness import Draws, normal
from toolkit.discovery import find
from toolkit.modality import Examples, Facts, Modality, Request, Splits
from toolkit.recipe import Recipe, build
from toolkit.run import prepare

ALL = 12  # positions of a plan, examples of a batch


class Case(NamedTuple):
    """A small recipe, and what is known of this modality."""

    modality: str
    data: dict[str, Any] = {}
    model: dict[str, Any] = {}
    quantum: float = 0.0  # how far apart two values are in a file
    varies: bool = True  # training examples are, at random
    on_page: Callable[[str], int] = len  # how many examples a page shows; len: there is no page
    on_lines: bool = False  # a terminal has a line for each example


DIGITS = {"source": "digits", "size": 12, "limit": 200, "flip": True, "crop": 0.2, "shift": 1}
DRUMS = {"source": "drums", "rate": 8000, "seconds": 0.25, "limit": 96, "gain": 3.0, "shift": 0.01, "speed": 0.05}
NAMES = {"source": "names", "items": "line", "length": 32}
CASES = {
    "image": Case("image", DIGITS, {"preset": "tiny", "width": 16}),
    "audio": Case("audio", DRUMS, {"preset": "tiny", "width": 8}, 2**-15, on_page=lambda page: page.count("<audio")),
    "text": Case(
        "text", NAMES, {"preset": "smoke", "width": 16, "depth": 1}, on_lines=True,
        on_page=lambda page: sum(part.split("</pre>")[0].count("\n") for part in page.split("<pre>")[1:]),
    ),
    "points": Case(str(ROOT / "tests" / "points.py"), varies=False),
}  # fmt: skip


class Opened(NamedTuple):
    """A case whose data is open, and a new network for it."""

    case: Case
    recipe: Recipe
    modality: Modality
    splits: Splits
    denoiser: Denoiser

    def some(self, n: int = ALL, start: int = 0) -> Examples:
        """Training examples, spread over the split, which may be sorted."""
        return self.splits.train.take((torch.arange(n) + start) * 7 % len(self.splits.train))

    def names(self, n: int) -> list[str]:
        labels = self.modality.labels
        return [labels[i] for i in self.some(n).cond["label"].tolist()] if labels else []


@pytest.fixture(scope="module", params=CASES)
def it(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    case = CASES[request.param]
    train = {"steps": 2, "batch": 4, "previews": 0, "warmup": 1, "layout": "channels-last"}
    sections = {"modality": case.modality, "data": case.data, "model": case.model, "train": train}
    recipe = recipes.from_mapping({"name": "tiny", **sections, "sample": {"steps": 2}})
    kind = find(case.modality)
    modality = kind(*recipes.validate_for(recipe, kind))
    modality.open(tmp_path_factory.mktemp("data"), quiet)
    assert modality.splits is not None
    return Opened(case, recipe, modality, modality.splits, build.denoiser(recipe, modality))


def test_decode_undoes_encode(it: Opened) -> None:
    raw = it.some().raw
    x = it.modality.encode(raw)
    back = it.modality.decode(x)
    assert back.dtype == raw.dtype and back.shape == raw.shape
    torch.testing.assert_close(back, raw, rtol=0, atol=1e-5 if raw.is_floating_point() else 0)
    low, high = it.modality.facts.bounds or (-math.inf, math.inf)
    assert low - 1e-6 < float(x.min()) and float(x.max()) < high + 1e-6


def test_model_space_has_mean_0_and_variance_1(it: Opened) -> None:
    raw, cond = it.splits.train.take(torch.arange(len(it.splits.train)))
    x, continuous = it.modality.encode(raw), it.denoiser.space(it.modality.shape) == it.modality.shape
    assert x.dtype == (torch.float32 if continuous else torch.int64)
    x = (x if continuous else it.denoiser.embed(x).detach()).double()
    # up to each example's own end
    length = cond.get("length", torch.full((len(x),), x.shape[-1])).reshape(-1, *[1] * (x.ndim - 1))
    x = x[(torch.arange(x.shape[-1]) < length).expand_as(x)]
    assert float(x.square().mean()) == pytest.approx(1, abs=0.02)
    assert not continuous or abs(float(x.mean())) < 0.05


def test_facts_are_those_of_the_data(it: Opened) -> None:
    facts, (raw, cond) = it.modality.facts, it.some()
    assert it.modality.encode(raw).shape[1:] == facts.shape and facts.count == len(it.splits.train) >= ALL
    assert len(it.splits.test) and it.splits.test.take(torch.tensor([0])).raw.shape[1:] == raw.shape[1:]
    assert ("label" in cond) == bool(facts.labels)
    every = it.splits.train.take(torch.arange(facts.count)).cond.get("label", torch.zeros(0, dtype=torch.int64))
    assert every.dtype == torch.int64 and set(every.tolist()) <= set(range(len(facts.labels)))
    assert Facts.model_validate_json(facts.model_dump_json()) == facts


def test_a_batch_is_a_function_of_its_draws_whatever_is_beside_an_example(it: Opened) -> None:
    conditioning, examples = it.modality.conditioning(), it.some()
    whole = conditioning.batch(examples, Draws(0, range(ALL), ("test",)))
    torch.manual_seed(99)
    again, other = (conditioning.batch(examples, Draws(0, range(ALL), (key,))) for key in ("test", "other"))
    assert torch.equal(whole.raw, again.raw) and whole.cond.keys() == again.cond.keys()
    assert all(torch.equal(value, again.cond[name]) for name, value in whole.cond.items())
    same = [torch.equal(whole.raw, other.raw), *(torch.equal(whole.cond[k], v) for k, v in other.cond.items())]
    assert all(same) != it.case.varies
    for rows in (range(5), range(5, ALL)):
        taken = Examples(examples.raw[rows], {name: value[rows] for name, value in examples.cond.items()})
        part = conditioning.batch(taken, Draws(0, rows, ("test",)))
        wide = part.raw.shape[-1]
        assert torch.equal(part.raw, whole.raw[rows][..., :wide]) and not whole.raw[rows][..., wide:].any()
        for name in {*whole.cond, *part.cond}:
            # a mask without padding, and a mark without marks, may be left out
            usual = {"mask": torch.ones, "given": torch.zeros}.get(name, torch.empty)(ALL, 1, wide)
            mine, theirs = part.cond.get(name, usual[rows]), whole.cond.get(name, usual)[rows]
            assert torch.equal(mine, theirs[..., :wide] if theirs.ndim > 1 else theirs), name


def test_a_plan_has_every_position_once_and_fits_the_network(it: Opened) -> None:
    labels = torch.arange(ALL) % len(it.modality.labels) if it.modality.labels else None

    def plan(positions: list[int]) -> list[Request]:
        asked = None if labels is None else labels[positions]
        return it.modality.conditioning().plan(it.modality.SampleOptions(), asked, 5, positions)

    def row(requests: list[Request], place: int) -> tuple[tuple[int, ...], dict[str, Tensor]]:
        (request,) = (request for request in requests if place in request.which)
        return request.shape, {name: value[request.which.index(place)] for name, value in request.cond.items()}

    whole, few = plan(list(range(ALL))), plan([7, 2])
    assert sorted(place for request in whole for place in request.which) == list(range(ALL))
    for request in whole:
        count = len(request.which)
        cond = dict(request.cond) if labels is None else {**request.cond, "label": labels[list(request.which)]}
        assert all(len(value) == count for value in cond.values())
        x_t = normal(0, "x", request.which, it.denoiser.space(request.shape))
        with torch.no_grad():
            assert it.denoiser(x_t, torch.full((count,), 0.5, dtype=torch.float64), cond).shape == x_t.shape
    for mine, place in enumerate((7, 2)):
        (shape, cond), (other, others) = row(few, mine), row(whole, place)
        assert shape == other and cond.keys() == others.keys()
        assert all(torch.equal(value, others[name]) for name, value in cond.items())


def test_outputs_and_gradients_are_finite(it: Opened) -> None:
    raw, cond = it.modality.conditioning().batch(it.some(), Draws(0, range(ALL), ("test",)))
    net, outputs = it.modality.network(), list[Tensor]()
    net.register_forward_hook(lambda net, given, output: outputs.append(output.detach()))
    denoiser = it.modality.denoiser(net, it.denoiser.schedule, it.recipe.diffusion.prediction)
    x, t = it.modality.encode(raw), torch.linspace(0.02, 0.98, ALL, dtype=torch.float64)
    loss = denoiser.loss(x, t, normal(0, "noise", range(ALL), denoiser.space(x.shape[1:])), cond)
    assert loss.shape == (ALL,) and bool(loss.isfinite().all())
    loss.mean().backward()
    gradients = [p.grad for p in denoiser.parameters() if p.grad is not None]
    assert outputs and all(bool(value.isfinite().all()) for value in [*outputs, *gradients])
    assert any(bool(gradient.any()) for gradient in gradients)


def test_every_example_is_a_file_that_is_read_again(it: Opened, tmp_path: Path) -> None:
    raw, stems = it.some().raw, [f"s{i}" for i in range(ALL)]
    paths = it.modality.write(raw, tmp_path, stems, it.modality.SampleOptions())
    assert [path.stem for path in paths] == stems and sorted(tmp_path.iterdir()) == sorted(paths)
    assert len({path.read_bytes() for path in paths}) == ALL
    read = getattr(it.modality, "read", None)
    for path, example in zip(paths, raw, strict=True) if read else ():
        back = read(path)
        kept, rest = example[..., : back.shape[-1]], example[..., back.shape[-1] :]
        assert back.dtype == raw.dtype and float((back.double() - kept).abs().max()) <= 0.51 * it.case.quantum
        assert int((rest != 0).sum()) <= 1  # padding, and perhaps the mark of an end


def test_pictures_show_the_examples(it: Opened) -> None:
    one, other, names = it.some(4).raw, it.some(4, start=4).raw, it.names(4)
    first, again, second = (it.modality.preview(raw, names) for raw in (one, one, other))
    assert isinstance(first, PIL.Image.Image) and len(first.convert("RGB").getcolors(1 << 24) or []) > 1
    assert first.tobytes() == again.tobytes() != second.tobytes()
    strip = it.modality.view().strip(torch.stack([one, other]))
    assert strip.tobytes() != it.modality.view().strip(torch.stack([one, one])).tobytes()


def test_what_is_read_of_the_examples(it: Opened) -> None:
    view, raw, names = it.modality.view(), it.some(9).raw, it.names(9)
    lines = view.lines(raw, names)
    assert min(view.counts) > 0 and all(line.isprintable() for line in [*lines, view.rate(raw, 2.0)])
    assert len(lines) == (9 if it.case.on_lines else 0)
    for count, real in ((9, None), (5, None), (5, it.some(3))):
        page = view.page(raw[:count], names[:count], real)
        assert bool(page) == (it.case.on_page is not len) and all(c.isprintable() or c == "\n" for c in page)
        assert not page or it.case.on_page(page) == count + (0 if real is None else 3)


def test_real_examples_are_judged(it: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = it.modality.evaluator()
    assert (evaluator is None) == (it.modality.name == "points")
    if evaluator is None:
        return
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    for judge in (PictureJudge, SoundJudge):
        monkeypatch.setattr(judge, "course", replace(judge.course, steps=8, batch=16))
    monkeypatch.setattr(text_judge, "Course", functools.partial(text_judge.Course, steps=4, batch=4))
    rows = list(evaluator.metrics(it.some(48), it.splits, it.modality.EvaluationOptions(), quiet).figures)
    bits = evaluator.likelihood(it.denoiser.eval(), None, it.splits, 4, quiet) if evaluator.counts_bits else []
    assert not evaluator.counts_bits or (bits[0].value or 0) > 0
    assert len({row.name for row in rows + bits}) == len(rows + bits)
    assert sum(row.value is not None for row in rows) > 5
    for row in rows + bits:
        numbers = (row.value, row.low, row.high, row.floor, row.ceiling)
        assert row.value is not None or row.note, row
        assert all(number is None or math.isfinite(number) for number in numbers), row


def test_a_run_is_loaded_and_sampled_alike(it: Opened, tmp_path: Path) -> None:
    list(prepare.prepare(it.recipe, tmp_path / "run", "cpu", quiet).run())
    runs = [toolkit.load(tmp_path / "run", notify=quiet, modality=it.case.modality) for _ in range(2)]
    one, again, other = (run.sample(3, seed=seed).raw for run, seed in zip([*runs, runs[0]], (3, 3, 4)))
    assert runs[0].modality.shape == it.modality.shape and len(one) == 3
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_options_say_what_they_do_and_their_defaults_are_allowed(it: Opened) -> None:
    kind = type(it.modality)
    for section in (kind.Data, kind.Model, kind.SampleOptions, kind.EvaluationOptions):
        assert all(option.description for option in section.model_fields.values())
        assert section.model_validate(section().model_dump()) == section()
