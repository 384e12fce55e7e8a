"""Splits by the usual names of folders: train, test, val and what else they are called."""

from __future__ import annotations

import re

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "dataset.json")
"""Names of files that say labels and splits of the files beside and below them."""
SPLITS = ("train", "test")
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation", "heldout"), "val"),
}
_ENDS = re.compile(r"[-_ ]?(set|split|data|images|audio|clips)$")


def role(name: str) -> str | None:
    """Return "train", "test" or "val" for a name such as Training_Set or dev, and None for others."""
    plain = name.casefold().replace("held-out", "heldout").replace("held_out", "heldout")
    return ROLES.get(plain) or ROLES.get(_ENDS.sub("", plain))
