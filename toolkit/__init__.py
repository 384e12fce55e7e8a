"""Train generative models from scratch, on a laptop or many nodes: `toolkit.train(...)`, `toolkit.load(...)`.

Importing this loads nothing heavy; torch comes with the first use of a name below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.modality import Modality as Modality
    from toolkit.recipe import Recipe as Recipe
    from toolkit.run.generator import Generator as Generator
    from toolkit.run.generator import load as load
    from toolkit.run.prepare import prepare as prepare
    from toolkit.run.prepare import train as train
    from toolkit.run.samples import Samples as Samples

__version__ = "0.1.0"
__all__ = ["Generator", "Modality", "Recipe", "Samples", "__version__", "load", "prepare", "train"]

_HOME = {
    "Generator": "toolkit.run.generator",
    "Modality": "toolkit.modality",
    "Recipe": "toolkit.recipe",
    "Samples": "toolkit.run.samples",
    "load": "toolkit.run.generator",
    "prepare": "toolkit.run.prepare",
    "train": "toolkit.run.prepare",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
