"""Rollback of a training whose loss, gradient or weights stay not finite."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from toolkit.errors import DivergedError, ToolkitError
from toolkit.training.batches import Batches
from toolkit.training.loop import Config, State
from toolkit.training.storage.checkpoint import Checkpoint, CheckpointStore

ROLLBACK_AFTER = 3
"""Steps in a row that may be left out for not being finite."""


def roll_back(
    state: State, store: CheckpointStore, config: Config, batches: Batches, out: Path, notify: Callable[[str], None]
) -> str:
    """Put the last checkpoint of the run in `out` that is of no streak of bad steps back into `state`, at half the
    learning rate, and say so in one line.

    Raises DivergedError, with where and at what learning rate, the second time or when nothing was saved.
    """
    bad = state.step
    if state.skipped_in_a_row >= ROLLBACK_AFTER:
        where = f"steps {bad - ROLLBACK_AFTER + 1} to {bad} gave no finite loss or gradient"
    else:
        where = f"step {bad} left weights that are not finite"
    checkpoint = _good(store, notify)
    if state.lr_factor < 1 or checkpoint is None:
        numbers = batches.indices(bad - 1, range(min(8, config.batch))).tolist()
        rate = config.lr_at(bad, state.course) * state.lr_factor
        note = f"the last good state is kept in {out}" if checkpoint else "nothing had been saved yet"
        raise DivergedError(
            f"{where}, at learning rate {rate:.2g}, in batches such as examples {numbers}; {note}. "
            f"Try --set train.lr={config.lr / 4:.2g} with another --out"
        )
    state.restore(checkpoint.groups, checkpoint.state)
    state.lr_factor, state.skipped_in_a_row = 0.5, 0
    return f"{where}: going on from the checkpoint of step {checkpoint.step} at half the learning rate"


def _good(store: CheckpointStore, notify: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint that was not saved between bad steps, as earlier versions did."""
    for step in reversed(store.steps()):
        with suppress(ToolkitError):  # damaged: the one before it
            checkpoint = store.load(step=step, notify=notify)
            if checkpoint is not None and not checkpoint.state.get("bad"):
                return checkpoint
    return None
