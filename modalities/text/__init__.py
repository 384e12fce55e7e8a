"""Texts and other sequences of tokens: a bundled play, files and folders of the user's, tables of pairs."""

from modalities.text.modality import Text

__all__ = ["Text"]
