"""Labels and splits of folders as people have them: each case gives the labels, and says how it came to them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from toolkit.data import labels, listing, selection
from toolkit.data.listing import Listing
from toolkit.errors import DataError, UsageError

NFD = unicodedata.normalize("NFD", "café")


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def scan(root: Path, how: str = "auto", splits: str = "auto") -> Listing:
    return labels.scan(root, {".png"}, "pictures", how, splits)


def read(root: Path, how: str = "auto", splits: str = "auto") -> dict[str, tuple[str | None, str | None]]:
    return {entry.name: (entry.label, entry.split) for entry in scan(root, how, splits).entries}


@pytest.mark.parametrize(
    ("train", "held"),
    [("train", "test"), ("train", "val"), ("Training", "validation"), ("train", "dev"), ("train_set", "test_set"),
     ("training-data", "eval"), ("TRAIN", "VALID"), ("train images", "held-out")],
)  # fmt: skip
def test_splits_have_many_names(tmp_path: Path, train: str, held: str) -> None:
    make(tmp_path, f"{train}/cat/1.png", f"{train}/dog/2.png", f"{held}/cat/3.png", f"{held}/dog/4.png")
    assert read(tmp_path) == {
        f"{train}/cat/1.png": ("cat", "train"), f"{train}/dog/2.png": ("dog", "train"),
        f"{held}/cat/3.png": ("cat", "test"), f"{held}/dog/4.png": ("dog", "test"),
    }  # fmt: skip
    assert {label for label, _ in read(tmp_path, splits="none").values()} == {train, held}


def test_of_three_splits_the_test_is_held_out(tmp_path: Path) -> None:
    make(tmp_path, "d/train/a/1.png", "d/train/b/2.png", "d/val/a/3.png", "d/test/b/4.png", "d/extra/5.png")
    found = scan(tmp_path)
    assert {e.name: (e.label, e.split) for e in found.entries} == {
        "d/train/a/1.png": ("a", "train"), "d/train/b/2.png": ("b", "train"), "d/test/b/4.png": ("b", "test")
    }  # fmt: skip
    assert found.notes == [
        "1 pictures in val/ are left out, because another folder is held out",
        "1 pictures outside train/ and test/ are left out",
    ]


def test_train_alone_is_no_label(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "train/a/2.png", "train/b/3.png")
    assert set(read(tmp_path).values()) == {("a", None), ("b", None)}
    assert scan(tmp_path).splits_by == "none: all lies in train/"


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    make(tmp_path, "train/1.png", "bus/2.png", "car/3.png")
    assert {label for label, _ in read(tmp_path).values()} == {"train", "bus", "car"}


def test_an_empty_training_split_is_still_one(tmp_path: Path) -> None:
    make(tmp_path, "test/a/1.png", "test/b/2.png")
    (tmp_path / "train").mkdir()
    (tmp_path / "train/broken.png").write_bytes(b"")
    assert all(split == "test" for _, split in read(tmp_path).values())


def test_folders_around_everything_are_no_labels(tmp_path: Path) -> None:
    make(tmp_path, "pack/v1/kick/1.png", "pack/v1/snare/2.png")
    (tmp_path / "pack/readme.txt").write_text("hello")
    assert [label for label, _ in read(tmp_path).values()] == ["kick", "snare"]


def test_one_folder_is_no_label_and_it_is_said(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "cat/2.png")
    found = scan(tmp_path)
    assert [entry.label for entry in found.entries] == [None, None]
    assert labels.rows(found, found.entries, np.zeros(2, bool))[1].value == "none: all lie in one folder, cat/"


def test_a_stray_file_does_not_cost_the_labels(tmp_path: Path) -> None:
    make(tmp_path, "contact.png", *(f"{c}/{i}.png" for c in "ab" for i in range(3)))
    found = scan(tmp_path)
    assert [entry.label for entry in found.entries] == ["a"] * 3 + ["b"] * 3
    assert "contact.png" in found.notes[0] and "--labels none takes them" in found.notes[0]
    assert len(read(tmp_path, "none")) == 7


def test_a_few_files_in_folders_make_no_labels(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/2.png", *(f"{i}.png" for i in range(9)))
    found = scan(tmp_path)
    assert len(found.entries) == 11 and listing.label_names(found.entries) == ()
    assert found.labels_by == "none: 9 pictures lie in no folder of their own"


def test_levels_of_folders(tmp_path: Path) -> None:
    make(tmp_path, *(f"{kit}/{kind}/{i}.png" for kit in ("k1", "k2") for kind in ("kick", "hat", "tom") for i in "12"))
    assert {label for label, _ in read(tmp_path).values()} == {"k1", "k2"}
    assert {label for label, _ in read(tmp_path, "folders:2").values()} == {"kick", "hat", "tom"}
    assert {label for label, _ in read(tmp_path, "parent").values()} == {"kick", "hat", "tom"}
    assert scan(tmp_path).alternatives == ["folders:2 (3)", "parent (3)"]
    for wrong in ("folders:0", "folders:x", "folder"):
        with pytest.raises(UsageError, match=r"data\.labels"):
            scan(tmp_path, wrong)


def test_one_name_in_two_forms_is_one_label(tmp_path: Path) -> None:
    make(tmp_path, "café/1.png", f"{NFD}/2.png", "tee/3.png")
    assert [label for label, _ in read(tmp_path).values()].count("café") == 2
    assert listing.label_names(scan(tmp_path).entries) == ("café", "tee")
    make(tmp_path / "p", f"{NFD}_1.png", "café_2.png")
    assert {label for label, _ in read(tmp_path / "p", "{label}_{}").values()} == {"café"}


def test_capitals_make_two_labels_and_a_warning(tmp_path: Path) -> None:
    make(tmp_path, *(f"{c}/{i}.png" for c in ("Cat", "cat") for i in range(6)))
    found = scan(tmp_path)
    warning = labels.rows(found, found.entries, np.zeros(12, bool))[-1]
    assert warning.warning and warning.data == ["Cat and cat"]


@pytest.mark.parametrize("content", [
    {"labels": [["1.png", 0], ["2.png", 10], ["d/3.png", 2]]},
    {"labels": {"1.png": 0, "./2.png": 10, "d\\3.png": 2}},
    {"labels": [{"file_name": "1.png", "label": "0"}, {"file_name": "2.png", "label": 10.0}, {"file": "d/3.png"},
                {"file_name": "d/3.png", "label": 2}]},
])  # fmt: skip
def test_labels_of_dataset_json(tmp_path: Path, content: object) -> None:
    make(tmp_path, "1.png", "2.png", "d/3.png")
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    found = scan(tmp_path)
    assert [entry.label for entry in found.entries] == ["0", "10", "2"]
    assert listing.label_names(found.entries) == ("0", "2", "10") and found.labels_by == "by dataset.json"
    assert not found.ignored


def test_labels_and_splits_of_metadata(tmp_path: Path) -> None:
    make(tmp_path, "a.png", f"{NFD}.png", "c.png", "d.png")
    rows = [
        ("a.png", "x", "train"),
        ("café.png", "y", "validation"),
        ("c.png", "y", "train"),
        ("gone.png", "x", "train"),
    ]
    for name, text in {
        "metadata.csv": "File_Name;Label;split\r\n" + "".join(f"{';'.join(row)}\r\n" for row in rows),
        "metadata.tsv": "file_name\tlabel\tsplit\n" + "".join("\t".join(row) + "\n" for row in rows),
        "metadata.jsonl": "".join(
            json.dumps(dict(zip(("file_name", "label", "split"), row, strict=True))) + "\n" for row in rows
        ),
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        found = scan(tmp_path)
        labelled = {unicodedata.normalize("NFC", e.name): (e.label, e.split) for e in found.entries}
        assert labelled == {"a.png": ("x", "train"), "café.png": ("y", "test"), "c.png": ("y", "train")}
        assert any("1 rows" in note and "not there" in note for note in found.notes)
        assert any(note.startswith("1 pictures of no split") for note in found.notes)
        assert listing.label_names(scan(tmp_path, "folders").entries) == ()
        (tmp_path / name).unlink()


def test_metadata_in_the_folders_of_splits(tmp_path: Path) -> None:
    make(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    (tmp_path / "train/metadata.csv").write_text("file_name,genre\n1.png,rock\n2.png,jazz\n")
    (tmp_path / "test/metadata.csv").write_text("file_name,genre\n1.png,jazz\n")
    assert read(tmp_path) == {
        "train/1.png": ("rock", "train"), "train/2.png": ("jazz", "train"), "test/1.png": ("jazz", "test")
    }  # fmt: skip


def test_metadata_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    make(tmp_path, "1.png")
    with pytest.raises(DataError, match=r"no metadata\.jsonl"):
        scan(tmp_path, "metadata")
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "1.png", "text": "a dog"}\n')
    assert "has no column for labels (file_name, text)" in scan(tmp_path).notes[0]
    assert [label for label, _ in read(tmp_path, "metadata:text").values()] == ["a dog"]
    with pytest.raises(UsageError, match="no column 'colour'"):
        scan(tmp_path, "metadata:colour")
    path.write_text('{"file_name": "1.png", "label": "a"}\n{broken\n')
    with pytest.raises(DataError, match=r"metadata\.jsonl cannot be read"):
        scan(tmp_path)
    path.write_text('{"file_name": "2.png", "label": "a"}\n')
    with pytest.raises(DataError, match="names none of the 1 pictures"):
        scan(tmp_path)


def test_changed_labels_change_the_signature(tmp_path: Path) -> None:
    make(tmp_path, "1.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,a\n")
    before = scan(tmp_path).signature
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,bb\n")
    assert scan(tmp_path).signature != before


def test_patterns_are_proposed_and_not_taken(tmp_path: Path) -> None:
    make(tmp_path, *(f"{c}_{i:03d}.png" for c in ("circle", "square") for i in range(20)))
    found = scan(tmp_path)
    row = labels.rows(found, found.entries, np.zeros(40, bool))[1]
    assert listing.label_names(found.entries) == () and row.change == "--labels '{label}_{}'"
    assert "{label}_{} (2)" in row.value
    named = scan(tmp_path, "{label}_{}")
    row = labels.rows(named, named.entries, np.zeros(40, bool))[1]
    assert row.data == {"by": "by file names, {label}_{}", "counts": {"circle": 20, "square": 20}}


def test_rows_say_how_and_warn_of_rare_labels(tmp_path: Path) -> None:
    make(tmp_path, *(f"a/{i}.png" for i in range(60)), *(f"b/{i}.png" for i in range(5)), *(f"c/{i}.png" for i in "12"))
    found = scan(tmp_path)
    test = selection.test_mask(found.entries)
    splits, row, rare = labels.rows(found, found.entries, test)
    assert splits.data == {"train": int((~test).sum()), "test": int(test.sum()), "by": "hash"} and not splits.change
    assert row.value.startswith("3 by folders: a (60), b (5), c (2)") and row.change == "--labels none"
    assert rare.warning and rare.data == ["c (2)"]


def test_folders_that_are_sizes_are_no_labels(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(f"theme/{size}/{kind}/a.png" for size in ("16x16", "32x32@2", "scalable") for kind in ("apps", "devices")),
    )
    found = scan(tmp_path)
    assert {entry.label for entry in found.entries} == {"apps", "devices"} and "are sizes" in found.notes[0]
    assert {label for label, _ in read(tmp_path, "folders").values()} == {"16x16", "32x32@2", "scalable"}
