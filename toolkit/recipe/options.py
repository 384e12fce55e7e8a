"""Strict, typed tables: the sections of a recipe and the options of a command."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """A typed, strict section of a recipe: an unknown key is an error. Its docstrings are what --help shows."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
