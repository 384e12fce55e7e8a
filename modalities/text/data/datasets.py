"""Data sets that have a name: bundled plays, the names in them, and the same backwards; tinyshakespeare, e2e, tunes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from modalities.text.data import text_files
from modalities.text.data.readers import Document, Source, single, source_of
from modalities.text.data.text_files import Problems
from modalities.text.options import Data
from toolkit import paths
from toolkit.data.labels import scan
from toolkit.data.listing import Entry, Listing
from toolkit.errors import DataError

NAMES = ("shakespeare", "tinyshakespeare", "e2e", "abc", "names", "backwards")
TINY_TEST = 0.1
"""Held-out share: the first int(0.9 n) characters train, as in nanoGPT's data/shakespeare_char/prepare.py."""
_WORD = re.compile(r"[A-Za-z]+")
_FIELD = re.compile(r"([A-Za-z]):(?![|:\]])")
_HEADER = "MLK"


def find(options: Data) -> Source:
    """Return the data set called options.source, one of NAMES. Raises DataError when its files are not there."""
    if options.source == "tinyshakespeare":
        return _tinyshakespeare(options)
    if options.source == "e2e":
        return _e2e(options)
    if options.source == "abc":
        return _abc(options)
    plays = paths.shipped_folder("assets") / "shakespeare"
    listing = _listing(plays, {"train.txt": "train", "validation.txt": "test"}, "reinstall diffusion-toolkit")
    if options.source == "shakespeare":
        return source_of(plays, listing, options)
    return _names(plays, listing, pairs=options.source == "backwards")


def proper_names(texts: Iterable[str]) -> list[str]:
    """Return distinct capitalised words, sorted, that never occur in lower case; words all in capitals do not count."""
    words = {word for text in texts for word in _WORD.findall(text)}
    names = (word for word in words if word[0].isupper() and word[1:].islower())
    return sorted(word for word in names if word.lower() not in words)


def tunes(parts: Iterable[str]) -> Iterator[str]:
    """Yield the tunes of an ABC file: of the header only the lines M, L and K, then the music.

    A tune begins with X: and ends before the next one or an empty line (the ABC standard 2.1, section 2.2).
    """
    tune: list[str] = []
    inside = body = music = False
    for line, _ in text_files.lines(parts, text_files.LONGEST_PIECE):
        line = line.split("%")[0].rstrip()
        field = _FIELD.match(line)
        if not line or (field and field[1] == "X"):
            if music:
                yield "\n".join(tune)
            tune, inside, body, music = [], field is not None, False, False
        elif inside and field:
            body = body or field[1] == "K"
            if field[1] in _HEADER:
                tune.append(f"{field[1]}:{line[2:].strip()}")
        elif inside and body:
            tune.append(line)
            music = True
    if music:
        yield "\n".join(tune)


def _listing(folder: Path, splits: dict[str, str | None], fix: str) -> Listing:
    listing = Listing()
    for name, split in splits.items():
        try:
            one = single(folder / name)
        except OSError as error:
            raise DataError(f"cannot read {folder / name} ({error.strerror or error}); {fix}") from None
        listing.entries += [replace(entry, split=split) for entry in one.entries]
        listing.rejected += one.rejected
        listing.signature += one.signature
    return listing


def _tinyshakespeare(options: Data) -> Source:
    path = paths.data_root() / "tinyshakespeare"
    fix = "put input.txt of github.com/karpathy/char-rnn (data/tinyshakespeare) there, or set TOOLKIT_DATA"
    return source_of(path, _listing(path, {"input.txt": None}, fix), options, TINY_TEST)


def _e2e(options: Data) -> Source:
    path = paths.data_root() / "e2e"
    fix = "put devset.csv and testset_w_refs.csv of github.com/tuetschek/e2e-dataset there, or set TOOLKIT_DATA"
    listing = _listing(path, {"devset.csv": "train", "testset_w_refs.csv": "test"}, fix)
    return source_of(path, listing, options if options.columns else options.model_copy(update={"columns": "mr,ref"}))


def _names(plays: Path, listing: Listing, pairs: bool) -> Source:
    """Return the names in the plays. `pairs`: each is given, and the same backwards is the target."""
    entries = listing.entries

    def read(entry: Entry, problems: Problems) -> Iterator[Document]:
        texts = (text for one in entries for text in text_files.blocks(one.path, one.name, problems))
        for name in proper_names(["".join(texts)]):
            written, given = (name[::-1], name) if pairs else (name, None)
            yield Document(entry.name, (written,), name, given=given)

    return Source(plays, replace(listing, entries=entries[:1]), read, packed=False)


def _abc(options: Data) -> Source:
    spec = importlib.util.find_spec("music21")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise DataError(
            "the tunes of abc come with music21, which is not installed: pip install diffusion-toolkit[abc]"
        )
    path = Path(next(iter(places))) / "corpus"
    listing = scan(path, (".abc",), "tune books", "folders", "none")
    if not listing.entries:
        raise DataError(f"no tunes in {path}; reinstall music21")

    def read(entry: Entry, problems: Problems) -> Iterator[Document]:
        parts = text_files.blocks(entry.path, entry.name, problems)
        label = {"file": entry.name, "folder": entry.label}.get(options.labels)
        yield from (Document(entry.name, (tune,), tune, None, label) for tune in tunes(parts))

    return Source(path, listing, read, packed=False, whole=True)
