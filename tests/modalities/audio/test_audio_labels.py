"""Labels: from folders, from file names, or none; splits; what does not fit is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from modalities.audio.data.labels import Pattern, scan
from toolkit.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "stem", "label"),
    [
        ("{label}_{}_{}", "7_george_12", "7"),
        ("{}_{label}_{}", "7_george_12", "george"),
        ("{label}_{label}_{}", "7_george_12", "7-george"),
        ("{label}_{}_{}", "7_george", None),
        ("{label}_{}_{}", "7_george_1_2", "7"),  # the last field takes what is left
        ("{label}_{}_{}", "_george_12", None),
        ("{label}_{}_{}", "7__12", None),
        ("{label}_{}_{}", "7_george_", None),
        ("{label}", "anything at all", "anything at all"),
        ("take {} of {label}", "take 3 of räksmörgås", "räksmörgås"),
        ("take {} of {label}", "Take 3 of x", None),
        ("{label}--{}", "a-b--c", "a-b"),
        ("kick {label}!", "kick hard!", "hard"),
        ("kick {label}!", "kick hard", None),
        ("kick {label}!", "kick hard!?", None),
        ("{label}.*{}", "a.*b", "a"),  # no regular expression
        ("{label}.*{}", "axxb", None),
    ],
)
def test_patterns(pattern: str, stem: str, label: str | None) -> None:
    assert Pattern(pattern).label(stem) == label


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("folder", "it has no {label}"),
        ("{}_{}", "it has no {label}"),
        ("{name}_{}", "only {label} and {} may stand in braces"),
        ("{label", "only {label} and {} may stand in braces"),
        ("label}", "only {label} and {} may stand in braces"),
        ("{label}}_{}", "only {label} and {} may stand in braces"),
        ("{label}{}", "between two fields there must be some text that ends the first"),
    ],
)
def test_bad_patterns(pattern: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        scan(tmp_path, pattern)
    assert str(caught.value).startswith(f"data.labels '{pattern}': {why}; write folders, none, or a pattern")


def test_a_hostile_name_is_read_once() -> None:
    """What makes a backtracking matcher take for ever: many fields, and a name that fits all but the last."""
    pattern = Pattern("_".join(["{label}"] * 200) + "!")
    assert pattern.label("_".join(["a"] * 100_000)) is None
    assert pattern.label("a" * 1_000_000) is None


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def labels(root: Path, option: str) -> dict[str, tuple[str | None, str | None]]:
    return {entry.name: (entry.label, entry.split) for entry in scan(root, option).entries}


def test_labels_and_splits(tmp_path: Path) -> None:
    root = make(tmp_path / "a", "kick/1_x.wav", "snare/deep/2_y.flac", "notes.txt")
    assert labels(root, "folders") == {"kick/1_x.wav": ("kick", None), "snare/deep/2_y.flac": ("snare", None)}
    assert labels(root, "none") == {"kick/1_x.wav": (None, None), "snare/deep/2_y.flac": (None, None)}
    assert labels(root, "{}_{label}") == {"kick/1_x.wav": ("x", None), "snare/deep/2_y.flac": ("y", None)}
    split = make(tmp_path / "b", "train/kick/1.ogg", "test/kick/2.mp3", "test/snare_3.opus", "else/4.wav")
    listing = scan(split, "folders")
    assert {e.name: (e.label, e.split) for e in listing.entries} == {
        "train/kick/1.ogg": ("kick", "train"),
        "test/kick/2.mp3": ("kick", "test"),
        "test/snare_3.opus": (None, "test"),
    }
    assert listing.notes == ["1 sounds outside train/ and test/ are left out"]


def test_names_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    root = make(tmp_path, "1_a.wav", "2_b.wav", "odd.wav", "deep_er/odd.wav")
    listing = scan(root, "{label}_{}")
    assert [entry.label for entry in listing.entries] == ["1", "2"]
    assert sorted(listing.rejected) == [
        "deep_er/odd.wav: the name does not fit {label}_{}",  # folders are no part of the name
        "odd.wav: the name does not fit {label}_{}",
    ]
