"""torchvision and torchaudio, imported when they are needed, with the fix when they do not fit the torch beside them.

torchvision 0.(x+15) is built for torch 2.x and registers its operators with exactly that one. torchaudio stopped at
2.11, which imports beside torch 2.11 to 2.14, refuses a torch built for another CUDA, and reads and writes no files
without torchcodec (the toolkit uses soundfile for those).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from types import ModuleType

from toolkit.errors import ToolkitError

TORCH = ((2, 11), (2, 14))
"""The oldest and the newest torch that the toolkit is tested with."""
TORCHAUDIO = (2, 11)


def versions(names: Iterable[str] = ("torch", "torchvision", "torchaudio")) -> dict[str, str | None]:
    """Return versions of packages without importing them; None = not installed."""
    installed: dict[str, str | None] = {}
    for name in names:
        try:
            installed[name] = metadata.version(name)
        except (metadata.PackageNotFoundError, OSError, ValueError):
            installed[name] = None
    return installed


def skew(versions: Mapping[str, str | None]) -> list[str]:
    """One line for each pair that does not fit, with its fix. `versions` as from the function of that name."""
    torch = _release(versions.get("torch"))
    if torch is None:
        return ["torch is not installed: pip install 'torch>=2.11,<2.15'"]
    oldest, newest = TORCH
    lines = []
    if not oldest <= torch <= newest:
        lines.append(
            f"torch {versions['torch']} is outside {_dots(oldest)} to {_dots(newest)}: "
            f"pip install 'torch>={_dots(oldest)},<{_dots((newest[0], newest[1] + 1))}'"
        )
    partner = (0, torch[1] + 15)
    if torch[0] == 2 and _release(versions.get("torchvision")) not in (None, partner):
        lines.append(
            f"torchvision {versions['torchvision']} is not the one for torch {versions['torch']}: "
            f"pip install 'torchvision=={_dots(partner)}.*'"
        )
    if _release(versions.get("torchaudio")) not in (None, TORCHAUDIO):
        lines.append(
            f"torchaudio {versions['torchaudio']} does not fit torch {versions['torch']}: "
            f"pip install 'torchaudio=={_dots(TORCHAUDIO)}.*'"
        )
    return lines + _other_builds(versions)


def require(name: str) -> ModuleType:
    """The module `name`, e.g. "torchvision.datasets". Raises ToolkitError with the fix when it cannot be imported."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a build for another torch fails with RuntimeError, OSError or AttributeError
        package = name.split(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise ToolkitError(f"{package} is not installed: pip install {package}") from None
        reason = " ".join(str(error).split())[:200]
        fixes = [line for line in skew(versions()) if package in line] or [f"reinstall it: {_reinstall(package)}"]
        raise ToolkitError(f"{package} cannot be imported ({type(error).__name__}: {reason}); {fixes[0]}") from error


def _other_builds(versions: Mapping[str, str | None]) -> list[str]:
    """2.14.1+cpu beside 0.29.1+cu130: the part after the plus must agree where both say one."""
    torch = versions.get("torch") or ""
    lines = []
    for name in ("torchvision", "torchaudio"):
        other = versions.get(name) or ""
        if "+" in torch and "+" in other and torch.split("+")[1] != other.split("+")[1]:
            lines.append(f"{name} {other} is built for another torch than {torch}: {_reinstall(name)}")
    return lines


def _reinstall(package: str) -> str:
    return f"pip install --force-reinstall --no-deps {package}, from the index that torch came from"


def _release(version: str | None) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(match[1]), int(match[2])) if match else None


def _dots(release: tuple[int, int]) -> str:
    return f"{release[0]}.{release[1]}"
