"""Checkpoints that survive kill -9, power loss, a full disk, damaged files and strangers.

    run/checkpoints/step-00001234/      see manifest.py

A save is staged in `.tmp-*`, flushed file by file, renamed, and only then are older ones renamed to `.del-*` and
deleted: at every moment at least one complete checkpoint exists. A step that is saved again becomes
`step-00001234.1`, so that nothing has to move away before its successor is there. A save drops the checkpoints of
later steps: they belong to a course of training that was left. One process saves at a time (lock.py); any number may
load meanwhile, and loading writes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import torch
from torch import Tensor

import toolkit
from toolkit.errors import NotFiniteError, StorageError, ToolkitError, UsageError
from toolkit.training.storage import manifest as contents
from toolkit.training.storage.files import free_bytes, sync_folder, writing
from toolkit.training.storage.manifest import Damaged, Groups, Span

_STEP = re.compile(r"step-([0-9]{8,18})(?:\.([1-9][0-9]{0,5}))?")
_LEFTOVER = re.compile(r"\.(tmp|del)-[0-9]+-[0-9a-f]{32}")


class _Folder(NamedTuple):
    step: int
    revision: int
    """Number of earlier saves of the step."""
    path: Path


@dataclass(frozen=True)
class Checkpoint:
    """The content of one checkpoint folder."""

    step: int
    groups: dict[str, dict[str, Tensor]]
    """The groups asked for: name -> tensors on the CPU, contiguous, in memory of their own."""
    state: dict[str, Any]
    folder: Path
    threads: int
    """Threads of torch when it was saved."""
    torch: str
    """The version of torch that saved it."""
    toolkit: str = ""
    """The version of this toolkit that saved it; "" where it did not say."""

    @property
    def drift(self) -> str | None:
        """One line when going on here may differ in the last digits from never having stopped, or None."""
        if (self.threads, self.torch) == (torch.get_num_threads(), torch.__version__):
            return None
        now = f"{torch.get_num_threads()} of torch {torch.__version__}"
        return f"saved with {self.threads} threads of torch {self.torch}, going on with {now}: last digits may differ"

    @property
    def version_note(self) -> str | None:
        """One line when another version of the toolkit saved it, or None."""
        if self.toolkit in ("", toolkit.__version__):
            return None
        return (
            f"step {self.step:,} was saved by toolkit {self.toolkit}, and this is {toolkit.__version__}: what follows "
            "may differ"
        )


class CheckpointStore:
    """The checkpoints of one run. `folder`: run/checkpoints, made when first needed; `keep`: how many stay, >= 1."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        if keep < 1:
            raise UsageError(f"keep must be at least 1, not {keep}")
        self.folder = folder
        self.keep = keep

    def save(
        self,
        step: int,
        groups: Groups,
        state: Mapping[str, Any],
        best: int | None = None,
        copies: Mapping[str, bytes] | None = None,
    ) -> Path:
        """Write `groups` (name -> tensors on any device) and `state` (JSON, up to 1 MB), and return the new folder.

        `best`: an earlier step that stays too, besides the newest `keep`. `copies`: the run's recipe.toml and
        facts.json, which are protected by being here too. Raises NotFiniteError for a tensor that is not finite,
        ToolkitError for one that cannot be saved or a state that is no JSON, and StorageError when the disk is full or
        fails. Then nothing of this save is left and the checkpoints before it are as they were.
        """
        copies = copies or {}
        what = f"the checkpoint of step {step}"
        text = _state_text(what, step, groups, state)
        with writing(what, self.folder, self.size(groups, state, copies)):
            self._prepare()
            staged = self.folder / f".tmp-{step}-{uuid4().hex}"
            try:
                os.mkdir(staged)
                contents.write_folder(staged, step, groups, text, copies)
                new = self._vacant(step)
                os.rename(staged, new.path)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
            sync_folder(self.folder)
        self._prune(new, best)
        return new.path

    def load(
        self,
        groups: Sequence[str] | None = None,
        step: int | None = None,
        notify: Callable[[str], None] = print,
        spans: Mapping[str, Span] | None = None,
    ) -> Checkpoint | None:
        """The newest checkpoint that is whole, with the groups asked for (default all); None when there are none.

        A damaged one is skipped with one line to `notify`. With `step`, only that one will do. Only what is loaded is
        hashed. `spans`: how many bytes each group may have, which is looked at before any is read; a group that they
        do not name is then loaded when it is asked for, and not with all.
        Raises UsageError when the step or a group does not exist, ToolkitError when all there is is damaged.
        """
        faults: dict[Path, str] = {}
        while True:
            before = self._all()
            chosen = [one for one in before if step is None or one.step == step]
            if step is not None and not chosen:
                raise UsageError(f"no checkpoint of step {step} in {self.folder}; there are: {self.steps() or 'none'}")
            for one in reversed(chosen):
                try:
                    facts, tensors, state = contents.read_folder(one.path, one.step, groups, spans)
                    versions = facts.threads, facts.torch, facts.toolkit
                    return Checkpoint(one.step, tensors, state, one.path, *versions)
                except Damaged as error:
                    # A folder that has gone was not damaged: a training that still runs has moved on.
                    if one.path.exists() and one.path not in faults:
                        faults[one.path] = f"{one.path.name}: {error}"
                        notify(f"skipped damaged checkpoint {faults[one.path]}")
            if self._all() == before:
                break
        if not chosen:
            return None
        which = "all checkpoints are" if step is None else f"the checkpoint of step {step} is"
        raise ToolkitError(
            f"{which} damaged in {self.folder} ({'; '.join(faults.values())}); restore a copy, or start again elsewhere"
        )

    def steps(self) -> list[int]:
        """Steps of the checkpoints that look complete (right files of the right sizes; not hashed), ascending."""
        return sorted({one.step for one in self._all() if _looks_whole(one)})

    def whole(self) -> list[tuple[Path, contents.Manifest]]:
        """Folders and manifests of the checkpoints that look complete (not hashed), newest first."""
        steps = []
        for one in reversed(self._all()):
            with suppress(Damaged, ToolkitError):
                steps.append((one.path, contents.read_manifest(one.path, one.step)))
        return steps

    @staticmethod
    def size(groups: Groups, state: Mapping[str, Any] | None = None, copies: Mapping[str, bytes] | None = None) -> int:
        """Bytes one save writes, up to a few hundred, without writing it."""
        small = [contents.encode_json(dict(state or {})), *(copies or {}).values()]
        return sum(map(contents.weight_bytes, groups.values())) + sum(map(len, small)) + 160 * (len(groups) + 3)

    def preflight(self, size: int, best: bool = False) -> None:
        """Raise StorageError when saves of `size` bytes will not fit: `keep` of them and the one being written.

        `best`: one more that stays for its loss.
        """
        needed = size * max(1, self.keep + best + 1 - len(self.steps()))
        with writing("checkpoints", self.folder, needed):
            free = free_bytes(self.folder)
        if free < needed:
            line = f"checkpoints in {self.folder} need {needed:,} bytes and {free:,} bytes are free"
            raise StorageError(f"{line}; make room, lower train.keep or choose another folder")

    def _all(self) -> list[_Folder]:
        """All checkpoint folders, whole or not, oldest first. A link to a folder is none."""
        try:
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ToolkitError(f"cannot read {self.folder}: {error.strerror}; may you read it?") from error
        matches = [match for match in map(_STEP.fullmatch, names) if match and match[1] == f"{int(match[1]):08d}"]
        return sorted(_Folder(int(match[1]), int(match[2] or 0), self.folder / match[0]) for match in matches)

    def _prepare(self) -> None:
        """Make the folder, and remove what saves that were killed have left."""
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True)
            sync_folder(self.folder.parent)
        for name in os.listdir(self.folder):
            if _LEFTOVER.fullmatch(name):
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def _vacant(self, step: int) -> _Folder:
        revision = max((one.revision + 1 for one in self._all() if one.step == step), default=0)
        return _Folder(step, revision, self.folder / (f"step-{step:08d}" + (f".{revision}" if revision else "")))

    def _prune(self, new: _Folder, best: int | None = None) -> None:
        """Delete all but `new`, the keep - 1 whole ones before it and the whole one of step `best`, later steps first.

        What cannot be deleted stays: the save itself has succeeded.
        """
        others = [one for one in self._all() if one != new]
        whole = [one for one in others if one.step < new.step and _looks_whole(one)]
        stay = whole[len(whole) - (self.keep - 1) :] if len(whole) >= self.keep else whole
        stay = [*stay, *[one for one in whole if one.step == best][-1:]]
        gone = [one for one in others if one not in stay]
        for one in sorted(gone, key=lambda one: (one.step < new.step, one)):
            doomed = self.folder / f".del-{one.step}-{uuid4().hex}"
            with suppress(OSError):
                os.rename(one.path, doomed)
                shutil.rmtree(doomed, ignore_errors=True)


def _state_text(what: str, step: int, groups: Groups, state: Mapping[str, Any]) -> bytes:
    """`state` as JSON, after refusing whatever must not be saved."""
    if not 0 <= step < 10**18:
        raise ToolkitError(f"cannot save {what}: a step is a whole number, 0 or more")
    if problem := contents.problem(groups):
        kind = NotFiniteError if problem.endswith(contents.NOT_FINITE) else ToolkitError
        raise kind(f"did not save {what}: {problem}; the checkpoints before it are intact")
    try:
        text = contents.encode_json(dict(state))
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolkitError(f"did not save {what}: its state is no JSON ({error})") from error
    if len(text) > contents.CAP:
        raise ToolkitError(f"did not save {what}: its state has {len(text):,} bytes, and the limit is {contents.CAP:,}")
    return text


def _looks_whole(one: _Folder) -> bool:
    try:
        contents.read_manifest(one.path, one.step)
    except (Damaged, ToolkitError):
        return False
    return True
