"""`toolkit doctor`: what this machine has, what does not fit together, and the fix."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from toolkit.cli.console import AsJson, print_result
from toolkit.console import notify

PACKAGES = (
    "torch", "torchvision", "torchaudio", "numpy", "pillow", "librosa", "soundfile", "soxr", "pydantic", "safetensors",
    "rich", "typer", "matplotlib",
)  # fmt: skip
OPTIONAL = ("torchcodec", "diffusers")
Row = tuple[str, str]


def doctor(as_json: AsJson = False) -> None:
    """Versions, processor features, folders, and whether torch, torchvision and torchaudio fit together."""
    from toolkit import imports

    versions = imports.versions((*PACKAGES, *OPTIONAL))
    rows = [("diffusion-toolkit", _try(_own_version)), ("python", f"{platform.python_version()}  {sys.executable}")]
    rows.append(("system", _try(platform.platform)))
    rows += [(name, versions[name] or "not installed") for name in PACKAGES]
    rows += [(name, versions[name] or "not installed (optional)") for name in OPTIONAL]
    rows += [*_processor(), *_devices(), *_folders()]
    problems = imports.skew(versions) or list(_broken_packages(versions))
    problems += [f"{name} is not installed: pip install {name}" for name in PACKAGES[1:] if not versions[name]]
    notes = []
    if versions["torchaudio"] and not versions["torchcodec"]:
        notes.append("torchaudio reads and writes no files without torchcodec; sound files go through soundfile")
    notes += _holes(versions)
    print_result(as_json, {"machine": dict(rows), "notes": notes, "problems": problems}, rows)
    if not as_json:
        for line in (*(f"note: {note}" for note in notes), *(f"problem: {problem}" for problem in problems)):
            notify(line)
        if not problems:
            print("no problem found")
    if problems:
        raise typer.Exit(1)


def _own_version() -> str:
    import toolkit

    return f"{toolkit.__version__}  {Path(toolkit.__file__).parent}"


def _broken_packages(versions: dict[str, str | None]) -> Iterator[str]:
    """Yield packages that are installed in versions that fit and still cannot be imported."""
    from toolkit.errors import ToolkitError
    from toolkit.imports import require

    for name in ("torch", "torchvision", "torchaudio"):
        if versions[name]:
            try:
                require(name)
            except ToolkitError as error:
                yield str(error)


def _holes(versions: dict[str, str | None]) -> Iterator[str]:
    """Yield notes on versions whose known holes matter here (SECURITY.md)."""
    pillow = versions["pillow"] or ""
    if pillow.partition(".")[0].isdecimal() and int(pillow.partition(".")[0]) < 13:
        yield (
            f"Pillow {pillow} has a known hole in its JPEG decoder (CVE-2026-112403): read no pictures of strangers; "
            "Pillow 13 closes it and needs Python 3.11"
        )


def _processor() -> Iterator[Row]:
    try:
        from toolkit.training.precision import features

        values = features()
    except Exception as error:  # a broken torch is what this command is for
        values = {"features": f"unknown ({type(error).__name__}: {error})"}
    for name, value in values.items():
        if name not in PACKAGES and value != "":
            yield name, ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _devices() -> Iterator[Row]:
    def names() -> str:
        import torch

        devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            devices.append("mps")
        return ", ".join(devices) or "none"

    yield "accelerators", _try(names)


def _folders() -> Iterator[Row]:
    from toolkit import paths

    folders: tuple[tuple[str, Callable[[], Path]], ...] = (
        ("cache", paths.cache),
        ("data", paths.data_root),
        ("recipes", lambda: paths.shipped_folder("recipes")),
        ("assets", lambda: paths.shipped_folder("assets")),
        ("here", Path.cwd),
    )
    for name, where in folders:
        yield name, _try(functools.partial(_space, where))


def _space(where: Callable[[], Path]) -> str:
    folder = where()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    access = "" if os.access(there, os.W_OK) else ", not writable"
    return f"{folder}  ({shutil.disk_usage(there).free / 1e9:.1f} GB free{access})"


def _try(read: Callable[[], str]) -> str:
    try:
        return read()
    except Exception as error:  # one broken line must not cost the others
        return f"unknown ({type(error).__name__}: {error})"
