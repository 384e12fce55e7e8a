"""Sounds: bundled drum one-shots, spoken digits, and folders of recordings."""

from modalities.audio.modality import Audio

__all__ = ["Audio"]
