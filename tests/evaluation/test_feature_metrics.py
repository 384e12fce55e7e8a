"""All figures of real digits that were spoilt in known ways, under a judge that was trained for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from modalities.image import Image
from modalities.image.evaluate import evaluator, torchvision_features
from modalities.image.evaluate.judge import PictureJudge
from modalities.image.options import Data, Model
from toolkit.errors import DataError
from toolkit.evaluation import pretext
from toolkit.evaluation.evaluate import examples
from toolkit.evaluation.feature_metrics import group_references
from toolkit.evaluation.judge import obtain
from toolkit.evaluation.labels import accuracy_figure, agreement_figures
from toolkit.evaluation.metrics.all import Features
from toolkit.evaluation.table import EvaluationResult, Table
from toolkit.modality import Examples, Splits

DIVERSITY = {"FD", "KID", "KAD", "IS", "mIS", "AM", "NDB", "JSD", "recall", "coverage"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """400 training and all test digits of 12 x 12 pixels."""
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_CACHE", str(folder))
        patch.setattr(PictureJudge, "course", replace(PictureJudge.course, steps=120, batch=48))
        image = Image(Data(size=12, limit=400), Model())
        image.open(folder, lambda line: None)
        yield image


def judged(digits: Image, made: Examples) -> EvaluationResult:
    return digits.evaluator().metrics(made, opened(digits), digits.EvaluationOptions(), lambda line: None)


def opened(digits: Image) -> Splits:
    assert digits.splits is not None
    return digits.splits


def figures(digits: Image, made: Examples) -> Table:
    return Table(tuple(judged(digits, made).figures))


@pytest.fixture(scope="module")
def held(digits: Image) -> Examples:
    """Real digits that the judge was not shown: of a larger draw from the same source."""
    more = Image(Data(size=12, limit=1200), Model())
    more.open(Path(), lambda line: None)
    return more.dataset("train").take(torch.arange(400, 700))


def test_real_digits_are_as_good_as_real_ones(digits: Image, held: Examples) -> None:
    table = figures(digits, held)
    for what in ("FD", "KID", "KAD", "AM", "JSD", "precision", "recall", "coverage", "IS"):
        figure = table[what]
        assert figure.value is not None and figure.floor is not None and figure.ceiling is not None
        assert abs(figure.value - figure.floor) < 0.25 * abs(figure.ceiling - figure.floor), what
    assert table["copies"].value == pytest.approx(table["copies"].floor, abs=0.1)
    assert table["nearest"].value == pytest.approx(1, abs=0.15)
    accuracy, agreed = table["judge accuracy"].value, table["agreement"].value
    assert accuracy is not None and agreed == pytest.approx(accuracy, abs=0.1) and accuracy > 0.8


def test_every_diversity_figure_punishes_collapse(digits: Image, held: Examples) -> None:
    real = figures(digits, held)
    one = figures(digits, Examples(held.raw[:1].expand(300, -1, -1, -1), {"label": held.cond["label"][:1].expand(300)}))
    for what in DIVERSITY:
        good, bad = real[what], one[what]
        assert good.value is not None and bad.value is not None
        worse = bad.value > good.value if good.better == "lower" else bad.value < good.value
        assert worse, (what, good.value, bad.value)
    scores = {what: one[what].value for what in ("IS", "mIS", "recall", "NDB")}
    assert scores["IS"] == pytest.approx(1, abs=1e-3) and scores["mIS"] == pytest.approx(1, abs=1e-3)
    assert scores["recall"] is not None and scores["recall"] < 0.05
    assert one["precision"].value in (0.0, 1.0)  # and precision alone says nothing about it


def test_copies_are_found_however_few(digits: Image, held: Examples) -> None:
    train = digits.dataset("train").take(torch.arange(60))
    mixed = Examples(torch.cat([held.raw[:240], train.raw]), {"label": torch.zeros(300, dtype=torch.int64)})
    found = judged(digits, mixed)
    copies = Table(tuple(found.figures))["copies"]
    assert copies.value is not None and copies.floor is not None
    assert copies.value == pytest.approx(0.2 + 0.8 * copies.floor, abs=0.06)
    assert found.nearest is not None and torch.equal(found.nearest[240:], torch.arange(60))
    assert found.distance is not None and float(found.distance[240:].max()) == 0


def test_too_few_are_refused(digits: Image, held: Examples) -> None:
    with pytest.raises(DataError, match="15 samples are too few"):
        figures(digits, Examples(held.raw[:15], {}))
    few = figures(digits, Examples(held.raw[:20], {}))
    assert few["FD"].value is None and "KID" in few["FD"].note and few["KID"].value is not None
    assert few["agreement"].value is None and few["FD-infinity"].value is None


def test_references() -> None:
    """Held-out examples where there are enough, else halves; what is compared with is never in the reference."""
    train, test = Features(torch.arange(100.0)[:, None]), Features(torch.arange(100.0, 104.0)[:, None])
    groups, size = group_references(train, test, 30)
    assert size == 30 and all(torch.equal(group.reference.values, test.values) for group in groups)
    assert all(float(other.values.max()) < 100 and len(other) == 30 for group in groups for other in group.others)
    groups, size = group_references(train, test[:1], 1000)
    assert size == 50
    for reference, (other,) in groups:
        assert len(reference) == 51 and not set(reference.values.tolist()[0]) & set(other.values[:, 0].tolist())
        assert len({*reference.values[:, 0].tolist(), *other.values[:, 0].tolist()}) == 101


def test_agreement_by_label_and_part() -> None:
    names = ("1-ann", "1-bob", "2-ann", "2-bob")
    asked, seen = torch.tensor([0, 0, 1, 3, 4]), torch.tensor([0, 1, 1, 1, 2])  # the last asked for no label
    found = {
        f.name: f for f in agreement_figures(asked, seen, names, torch.tensor([0, 0]), torch.tensor([True, False]), "j")
    }
    assert found["agreement"].value == 2 / 4 and found["agreement"].ceiling == 1 / 4 and found["agreement"].floor == 0.5
    assert found["agreement part 1"].value == 3 / 4 and found["agreement part 2"].value == 3 / 4
    assert found["agreement/1-ann"].value == 1 / 2 and found["agreement/2-bob"].value == 0
    assert "agreement/2-ann" not in found and found["agreement/1-bob"].floor is None
    assert agreement_figures(torch.tensor([4]), seen[:1], names, seen, seen, "j")[0].value is None


def test_labels_of_samples_are_numbered_as_the_data(digits: Image) -> None:
    samples = SimpleNamespace(modality=digits, labels=("3", "none", "0"), raw=torch.zeros(3, 1, 12, 12))
    assert examples(samples).cond["label"].tolist() == [3, 10, 0]  # type: ignore[arg-type]


def test_cas_of_real_and_of_wrongly_labelled(digits: Image, held: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = evaluator.critic_of(opened(digits), lambda line: None)
    monkeypatch.setattr(PictureJudge, "course", replace(PictureJudge.course, steps=60))
    wrong = Examples(held.raw, {"label": (held.cond["label"] + 1) % 10})
    assert isinstance(judge, PictureJudge)
    good, bad = (
        accuracy_figure(judge, digits.dataset("train"), digits.dataset("test"), made, lambda line: None)
        for made in (held, wrong)
    )
    assert good.value is not None and bad.value is not None and good.floor is not None
    assert bad.value < 0.2 < 0.6 < good.value and good.value == pytest.approx(good.floor, abs=0.15)


def test_turns_are_told_apart(digits: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pretext.Views(digits.dataset("train"), evaluator.turn, 4)
    raw, cond = data.take(torch.tensor([0, 1, 6, 7]))
    plain = digits.dataset("train").take(torch.tensor([0, 1])).raw
    assert cond["label"].tolist() == [0, 1, 2, 3] and len(data) == 1600
    assert torch.equal(raw[0], plain[0]) and torch.equal(raw[1], plain[0].rot90(1, (1, 2)))
    assert torch.equal(raw[2], plain[1].flip(1, 2))
    monkeypatch.setattr(PictureJudge, "course", replace(PictureJudge.course, steps=140))
    judge = obtain(PictureJudge, pretext.views(opened(digits), evaluator.turn, evaluator.TURNS), lambda line: None)
    assert judge.pretext and judge.accuracy > 0.5 and judge.names == evaluator.TURNS  # by chance: 0.25


def test_a_network_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.squeezenet1_0(num_classes=3)
    with pytest.raises(Exception, match="no linear layer"):
        torchvision_features.TorchvisionFeatures(net, "squeezenet")
    made = torchvision.models.mobilenet_v3_small(num_classes=7).eval()
    save_file(made.state_dict(), tmp_path / "w.safetensors")
    mine = torchvision_features.load(f"{tmp_path}/w.safetensors:mobilenet_v3_small:64")
    raw = torch.randint(256, (2, 1, 20, 20), dtype=torch.uint8)

    def prepared(x: Tensor) -> Tensor:
        x = nn.functional.interpolate(x.float() / 255, (64, 64), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
        return (x - torch.tensor(torchvision_features.MEAN)[:, None, None]) / torch.tensor(torchvision_features.STD)[
            :, None, None
        ]

    with torch.no_grad():
        torch.testing.assert_close(made.classifier[3](mine.features(raw)), made(prepared(raw)))
    assert mine.name.startswith("mobilenet_v3_small-")
    with pytest.raises(DataError, match="does not hold the weights of resnet18"):
        torchvision_features.load(f"{tmp_path}/w.safetensors:resnet18")
    (tmp_path / "bad.safetensors").write_bytes(b"12345678901")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        torchvision_features.load(f"{tmp_path}/bad.safetensors:resnet18")
