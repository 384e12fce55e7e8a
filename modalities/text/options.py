"""The [data] and [model] sections of a text recipe, and the options of a sample."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal

from pydantic import Field, field_validator, model_validator

from modalities.text.data import encodings, formats
from toolkit.recipe.options import Options

LABELS = ("none", "file", "folder", "speaker")


def check_labels(labels: str) -> str:
    """Return the option. Raises ValueError for one that there is not."""
    if labels in LABELS or (labels.startswith("column:") and len(labels) > len("column:")):
        return labels
    near = get_close_matches(labels, (*LABELS, "column:"), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"write {', '.join(LABELS)} or column:NAME"
    raise ValueError(f"no labels are called '{labels[:40]}'; {hint}")


class Data(Options):
    """Source of the text, its tokens, and the share that is held out."""

    source: str = Field(default="shakespeare", min_length=1)
    """shakespeare, tinyshakespeare, e2e, abc, names, or backwards (pairs: a name, and the same backwards); else a file
    of text or rows, or a folder of them, as a path or below TOOLKIT_DATA. Write ./names for a folder that is called
    like a data set."""
    tokens: str = Field(default="char", pattern=r"^(char|byte|bpe:[0-9]{1,6})$")
    """char: characters of the training text; byte: UTF-8 bytes; bpe:N: N byte pairs learned on the training text."""
    length: int = Field(default=128, ge=16, le=4096)
    """Tokens of one example. Longer items become several; longer pairs of source and target are left out."""
    items: Literal["auto", "line", "file", "none"] = "auto"
    """Items of text files: each line, or the whole file; none: running text, cropped anywhere. auto: none, but rows
    where every line has equally many tabs. Tables and JSON have rows."""
    separator: str = Field(default="", max_length=100)
    """Line that ends an item of a text file, such as % or ---."""
    formats: str = Field(default="auto", min_length=1)
    """Endings of the files to read, "txt,md" (none: files without ending). auto: all that can be read together."""
    encoding: str = Field(default="auto", min_length=1)
    """Encoding of the files, such as cp1252. auto: each file's own is found."""
    normalise: Literal["auto", "nfc", "nfd", "none"] = "auto"
    """Form of characters with accents, one code point (nfc) or several (nfd). auto: nfc where the text has both."""
    delimiter: Literal["auto", ",", ";", "tab", "|"] = "auto"
    """Character between the columns of a table. auto: the one that divides its rows into equally many."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Presence of a first row with the names of the columns; without it, they are called 1, 2, ..."""
    quotes: Literal["auto", "yes", "no"] = "auto"
    """Use of quotes around fields. auto: in .csv, and where all of the file's beginning has them so."""
    labels: str = "none"
    """Label of a text: its file, its first-level folder, column:NAME of its row, or the speaker in a play, whose name
    is on a line of its own above each speech (speeches are then the items). none: no labels."""
    splits: Literal["auto", "none"] = "auto"
    """auto: folders or files called train, test, val ... are the splits; none: they are read as others."""
    field: str = Field(default="text", min_length=1)
    """Field of a row of JSON that holds its text, "a.b" for one inside another. If no row has a field called text, the
    one that holds text is taken."""
    columns: str = ""
    """Columns (or fields) to use: "ref", or "mr,ref" to learn to write ref given mr. Default: those that hold text."""
    test: float = Field(default=0.05, gt=0, le=0.5)
    """Held-out share: the end of each running text, or items by a hash. Data sets with a name, and folders and files
    called train and test, have their own split."""

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return encodings.check(name)

    @field_validator("formats")
    @classmethod
    def _are_read(cls, names: str) -> str:
        return formats.check(names)

    @field_validator("labels")
    @classmethod
    def _is_label(cls, labels: str) -> str:
        return check_labels(labels)


class Model(Options):
    """The network, and how it is trained."""

    preset: Literal["smoke", "small", "base"] = "small"
    """Size of the transformer; smoke is for tests."""
    width: int | None = Field(default=None, ge=16, le=4096, multiple_of=8)
    """Channels, in place of the preset's."""
    depth: int | None = Field(default=None, ge=1, le=64)
    """Layers, in place of the preset's."""
    dims: int = Field(default=16, ge=4, le=256)
    """Dimensions of a token's embedding."""
    recall: float = Field(default=0.25, ge=0, le=1)
    """Share of training examples conditioned on the network's own estimate (self-conditioning); 0: none."""
    given: float = Field(default=0.25, ge=0, lt=1)
    """Share of training examples in which some tokens are given, as filling holes needs."""
    spread: float = Field(default=5.0, ge=0, le=6)
    """Log range of noise levels within one text: a token has that of the text times e^u, u from -spread to spread in
    random order. 0: all have the same."""
    lowest: float = Field(default=0.1, gt=0)
    """Lowest noise level, in norms of an embedding: below it every token is resolved."""
    highest: float = Field(default=10.0, gt=0)
    """Highest noise level, in the same unit: above it none is."""

    @model_validator(mode="after")
    def _rises(self) -> Model:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest {self.lowest:g} is not below highest {self.highest:g}, both in norms")
        return self


class SampleOptions(Options):
    """Options of a sample besides its label."""

    length: int | None = Field(default=None, ge=1, le=4096)
    """Tokens of the text (of a pair, of the target), its end not counted: with tokens that are characters, characters.
    Default: as in training; for items, drawn from the lengths of training items."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Temperature of the posterior over tokens: below 1 it favours the likelier ones."""
    infill: str | None = Field(default=None, max_length=4096)
    """Text with holes: every underscore is a character to fill in. Write \\_ for a real underscore."""
    source: str | None = Field(default=None, max_length=4096)
    """Source to write a target for, by a model that was trained on two columns."""
