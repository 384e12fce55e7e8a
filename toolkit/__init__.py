"""Train generative models from scratch, on a laptop or many nodes: `toolkit.train(...)`, `toolkit.load(...)`.

Importing this loads nothing heavy; torch comes with the first use of a name below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.run.generator import load as load
    from toolkit.run.prepare import train as train

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]

_HOME = {"load": "toolkit.run.generator", "train": "toolkit.run.prepare"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
