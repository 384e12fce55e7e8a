"""Pictures: bundled digits, torchvision's small sets, folders and tar shards."""

from modalities.image.modality import Image

__all__ = ["Image"]
