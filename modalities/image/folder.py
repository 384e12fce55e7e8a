"""A folder of pictures: toolkit.data.listing says by which rules it is read."""

from __future__ import annotations

from pathlib import Path

from modalities.image.picture import EXTENSIONS
from toolkit.data import listing


def scan(root: Path) -> listing.Listing:
    """List the pictures under `root`, sorted by name; nothing is decoded, links are followed once."""
    return listing.scan(root, EXTENSIONS, "pictures")
