"""The modality of a folder, by its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.discovery import by_files
from toolkit.errors import UsageError


def fill(root: Path, **sizes: list[int]) -> Path:
    for ending, each in sizes.items():
        for i, size in enumerate(each):
            (root / f"{i}.{ending}").write_bytes(b"x" * size)
    return root


@pytest.mark.parametrize(("files", "modality"), [
    ({"wav": [9] * 20, "txt": [9999] * 9}, "audio"),  # a readme or a few, however long
    ({"png": [4000] * 5, "txt": [100] * 5}, "image"),  # a caption for each
    ({"flac": [4000] * 5, "json": [100] * 8}, "audio"),
    ({"txt": [10] * 5, "png": [10] * 2}, "text"),
])  # fmt: skip
def test_most_files_or_most_bytes_decide(tmp_path: Path, files: dict[str, list[int]], modality: str) -> None:
    assert by_files(fill(tmp_path, **files)) == modality


def test_about_as_many_and_as_large_is_a_question(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds files of several kinds .2 of .*, 2 of .*; say which: --modality"):
        by_files(fill(tmp_path, png=[100] * 2, txt=[80] * 2))


def test_metadata_does_not_count(tmp_path: Path) -> None:
    fill(tmp_path, png=[10])
    (tmp_path / "metadata.jsonl").write_bytes(b"x" * 1000)
    assert by_files(tmp_path) == "image"
