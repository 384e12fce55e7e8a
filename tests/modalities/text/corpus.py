"""Shorthands for tests that read texts."""

from __future__ import annotations

from pathlib import Path

import torch

from modalities.text.data.dataset import Corpus, Texts, read
from modalities.text.options import Data


def save(root: Path, contents: dict[str, str | bytes]) -> Path:
    """Files below `root` by name."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def opened(source: Path | str, cache: Path, **options: object) -> tuple[Corpus, list[str]]:
    """The corpus of a source, and what was said."""
    said: list[str] = []
    return read(Data(source=str(source), **options), cache, said.append), said  # type: ignore[arg-type]


def rows(texts: Texts) -> list[list[int]]:
    """The real tokens of each example; what is beyond them must be PAD."""
    if not len(texts):
        return []
    batch = texts.take(torch.arange(len(texts)))
    assert batch.raw.shape == (len(texts), texts.width) and batch.raw.dtype == torch.int64
    found = []
    for row, size in zip(batch.raw, batch.cond["length"].tolist()):
        assert not row[size:].any() and bool(row[:size].all())
        found.append(row[:size].tolist())
    return found


def shown(corpus: Corpus, texts: Texts) -> list[str]:
    """Each example as text."""
    return [corpus.vocabulary.decode(row) for row in rows(texts)]
