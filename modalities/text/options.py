"""The [data] and [model] sections of a text recipe, and the options of a sample."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from toolkit.recipe.options import Options


class Data(Options):
    """Which text, cut into what, and how much of it is held out."""

    source: str = Field(default="shakespeare", min_length=1)
    """shakespeare, tinyshakespeare, e2e, abc, names, or backwards (pairs: a name, and the same backwards); else a .txt,
    .jsonl, .csv or .tsv file or a folder of them, as a path or below TOOLKIT_DATA. A folder that is called like a data
    set is written ./names."""
    tokens: str = Field(default="char", pattern=r"^(char|byte|bpe:[0-9]{1,6})$")
    """char: characters of the training text; byte: UTF-8 bytes; bpe:N: N byte pairs learned on the training text."""
    length: int = Field(default=128, ge=16, le=4096)
    """Tokens of one example. Longer items become several; longer pairs of source and target are left out."""
    items: Literal["auto", "line", "file", "none"] = "auto"
    """What an item is: each line of a .txt file, or the whole of it; none: running text, of which examples are cut
    anywhere. auto: none for .txt, rows for the others."""
    labels: Literal["none", "file", "folder", "speaker"] = "none"
    """What tells texts apart: their file, their first-level folder, or who speaks in a play, whose name is on a line
    of its own above each speech (then speeches are the items)."""
    field: str = Field(default="text", min_length=1)
    """The field of a .jsonl row that is its text."""
    columns: str = ""
    """The columns (or fields) that are used: "ref", or "mr,ref" to learn to write ref given mr. Default: all columns
    of a table that has one or two."""
    test: float = Field(default=0.05, gt=0, le=0.5)
    """Share that is held out: the end of each running text, or items by a hash. Data sets with a name, and folders
    with train/ and test/ in them, have their own split."""


class Model(Options):
    """Which network, and how it is taught."""

    preset: Literal["smoke", "small", "base"] = "small"
    """How large a transformer; smoke is for tests."""
    width: int | None = Field(default=None, ge=16, le=4096, multiple_of=8)
    """Channels, in place of the preset's."""
    depth: int | None = Field(default=None, ge=1, le=64)
    """Layers, in place of the preset's."""
    dims: int = Field(default=16, ge=4, le=256)
    """Numbers that stand for a token."""
    recall: float = Field(default=0.25, ge=0, le=1)
    """The share of training examples that are shown the network's own estimate (self-conditioning); 0: never."""
    given: float = Field(default=0.25, ge=0, lt=1)
    """The share of training examples of which some tokens are told, which is what filling holes needs."""
    spread: float = Field(default=5.0, ge=0, le=6)
    """How much noise levels differ between the tokens of one text: each has that of the text times e^u, u from -spread
    to spread in random order. 0: all have the same."""
    lowest: float = Field(default=0.1, gt=0)
    """The least noise, in units of the norm of an embedding: below it every token is known for sure."""
    highest: float = Field(default=10.0, gt=0)
    """The most noise, in the same units: above it nothing is."""

    @model_validator(mode="after")
    def _rises(self) -> Model:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest {self.lowest:g} is not below highest {self.highest:g}, both in norms")
        return self


class SampleOptions(Options):
    """Options of a sample besides its label."""

    length: int | None = Field(default=None, ge=1, le=4096)
    """Tokens. Default: those of the training, or for items drawn from the lengths of the training items."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Of the posterior over the tokens: below 1 the likelier ones come oftener."""
    infill: str | None = Field(default=None, max_length=4096)
    """A text with holes: every underscore in it is a character to be found. A real underscore is written \\_."""
    source: str | None = Field(default=None, max_length=4096)
    """What to translate, by a model that was trained on two columns."""
