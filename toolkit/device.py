"""The device of a run: one policy, and one sentence where what was asked for is not to be had."""

from __future__ import annotations

import torch

from toolkit.errors import UsageError


def pick(name: str | torch.device | None = None) -> torch.device:
    """Return the device called "cpu", "cuda", "cuda:1", "mps" or "gpu" (cuda or mps); None is cuda if there is one.

    Apple's mps is taken when it is asked for, not by itself. Raises UsageError.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "gpu":
        name = "mps" if torch.backends.mps.is_available() and not torch.cuda.is_available() else "cuda"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device is called '{name}'; known: cpu, cuda, cuda:1, mps, gpu") from None
    if why := _missing(device):
        raise UsageError(f"device '{name}': {why}; leave it out to train on the processor")
    return device


def _missing(device: torch.device) -> str:
    """Return why a device cannot be used here, or ""."""
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            return "no CUDA graphics processor was found" if torch.version.cuda else "this torch is built without CUDA"
        if device.index is not None and device.index >= count:
            return f"there are {count} CUDA graphics processors, numbered from 0"
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            return "Apple's graphics processor was not found"
    elif device.type != "cpu":
        return "only cpu, cuda and mps are supported"
    return ""
