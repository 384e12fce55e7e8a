"""Averages of the weights of a width that no training kept, made afterwards (Karras et al. 2024, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.diffusion.denoiser import Denoiser
from toolkit.errors import ToolkitError, UsageError
from toolkit.training.ema import USEFUL, Snapshot, reconstruct, widths_from
from toolkit.training.loop import COPIED
from toolkit.training.storage.checkpoint import Checkpoint, CheckpointStore
from toolkit.training.storage.manifest import Span


def load_between(
    denoiser: Denoiser,
    store: CheckpointStore,
    checkpoint: Checkpoint,
    widths: tuple[float, ...],
    wanted: float,
    spans: Mapping[str, Span] | None = None,
) -> None:
    """Put the averages of width `wanted` at the checkpoint's step into the network.

    `checkpoint`: with the groups model and ema, which have the `widths`. `spans`: as for `CheckpointStore.load`.
    Raises UsageError when the checkpoint does not allow that width, ToolkitError when it does not fit the network.
    """
    there = ", ".join(f"{width:g}" for width in widths)
    lack = f"EMA width {wanted:g} was not kept; this run has {there}, and 0 is the weights themselves"
    now, then = checkpoint.state.get("updates"), checkpoint.state.get(COPIED)
    if type(now) is not int or type(then) is not int or not USEFUL[0] * now <= then <= USEFUL[1] * now:
        raise UsageError(f"{lack}; others can be made at the end of a run only, and not of step {checkpoint.step:,}")
    stored = [(step, width) for step in (then, now) for width in widths]
    low, high = widths_from(stored)
    if not low <= wanted <= high:
        raise UsageError(f"{lack}; widths from {low:.3f} to {high:g} can be made")
    earlier = store.load(groups=[COPIED], step=checkpoint.step, spans=spans)
    assert earlier is not None
    averages = {then: earlier.groups[COPIED], now: checkpoint.groups["ema"]}
    snapshots = [
        Snapshot(step, width, {
            name.removeprefix(f"{width:g}/"): tensor
            for name, tensor in averages[step].items() if name.startswith(f"{width:g}/")
        })
        for step, width in stored
    ]  # fmt: skip
    try:
        denoiser.net.load_state_dict({**checkpoint.groups["model"], **reconstruct(snapshots, wanted)}, strict=True)
    except (KeyError, RuntimeError) as error:
        first = str(error).splitlines()[-1].strip()
        raise ToolkitError(f"{checkpoint.folder} does not fit the recipe beside it ({first})") from None
