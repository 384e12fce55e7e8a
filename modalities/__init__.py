"""The meaning of tensors: one package for each modality. They never import each other."""

PROJECT = "diffusion-toolkit"
"""Checked by toolkit.discovery.find, since others have published packages with this name too."""
