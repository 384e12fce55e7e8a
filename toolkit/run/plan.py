"""Plan of a training run, before it starts: data, work, time, memory and disk."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from toolkit.console import duration

if TYPE_CHECKING:
    from toolkit.run.train import TrainingRun


def rows(run: TrainingRun) -> list[tuple[str, str]]:
    """Return the plan of a run as (name, value) rows."""
    train, facts, net = run.recipe.train, run.modality.facts, run.state.denoiser.net
    parameters = sum(p.numel() for p in net.parameters())
    steps = run.course.steps
    seconds = max(0, steps - run.state.step) / run.probe.steps_per_second
    length = f"{steps:,} of {train.batch} examples"
    if run.seconds is not None and seconds:
        seconds = max(0.0, run.seconds - run.state.spent)
        length = f"about {length}: as many as fit into {train.minutes:g} minutes"
    examples = steps * train.batch
    checkpoint = run.checkpoint_bytes()
    plan = [
        ("run folder", str(run.out) + (f" (goes on from step {run.state.step:,})" if run.resumed else "")),
        ("data", f"{facts.count:,} examples of shape {' x '.join(map(str, facts.shape))}"),
        ("labels", f"{len(facts.labels)}: {', '.join(facts.labels[:10])}" if facts.labels else "none"),
        ("parameters", f"{parameters:,}"),
        ("steps", length),
        ("examples seen", f"{examples:,} ({examples / max(1, facts.count):.1f} passes)"),
        ("speed", f"{run.probe.steps_per_second * train.batch:.0f} examples/s, {run.probe.describe()}"),
        ("expected end", f"{datetime.now() + timedelta(seconds=seconds):%H:%M}, in {duration(seconds)}"),
        ("memory", f"{run.probe.memory / 2**20:,.0f} MB at most so far"),
        (
            "disk",
            f"{checkpoint * (train.keep + 2) / 2**20:,.0f} MB: {train.keep} checkpoints, the best one, "
            "and one being written",
        ),
    ]
    at = plan.index(("parameters", f"{parameters:,}")) + 1
    plan[at:at] = [("multiply-adds", _work(run)), *run.modality.describe(net)]
    return plan


def _work(run: TrainingRun) -> str:
    """Multiply-adds of one forward pass over one example, the longest of a few, as torch counts them."""
    known = len(run.modality.labels)
    labels = torch.arange(64) % known if known else None
    requests = run.modality.conditioning().plan(run.modality.SampleOptions(), labels, 0, range(64))
    longest = max(requests, key=lambda request: request.shape[-1])
    denoiser = run.state.denoiser
    device = next(denoiser.net.parameters()).device
    cond = {name: value[:1].to(device) for name, value in longest.cond.items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        x = torch.zeros(1, *denoiser.space(longest.shape), device=device)
        denoiser(x, torch.full((), 0.5, dtype=torch.float64), cond)
    return f"{counter.get_total_flops() / 2e9:.3g} G for an example of shape {' x '.join(map(str, longest.shape))}"
