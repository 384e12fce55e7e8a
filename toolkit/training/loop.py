"""The training loop, a generator: the caller logs, draws, saves and stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.diffusion.denoiser import Denoiser, RegressionDenoiser
from toolkit.diffusion.loss import TimeDistribution, Uniform, Unweighted, Weighting, weighted
from toolkit.diffusion.randomness import dropout_keys, dropout_uniforms, normal, stratified, uniform
from toolkit.diffusion.schedule import beside
from toolkit.diffusion.variance import VarianceMeter
from toolkit.errors import ToolkitError
from toolkit.nn.dropout import attach
from toolkit.training.course import Course
from toolkit.training.ema import KEPT_AT, EarlierAverages, PowerEMA
from toolkit.training.muon import Muon, hidden_weights
from toolkit.training.objective import Objective, example_losses
from toolkit.training.precision import autocast

MOMENTUM = 0.95
"""Momentum of Muon (Jordan et al. 2024)."""

COPIED = "ema-earlier"
"""The group of a checkpoint, and the number among its scalars, for averages of an earlier step."""

BatchSource = Callable[[int, Sequence[int]], tuple[Tensor, dict[str, Tensor]]]
"""(step, positions in the global batch) -> x (B, *) in model space, conditions."""


@dataclass(frozen=True)
class Config:
    """Settings of `fit`; the recipe's [train] and [diffusion] sections with names resolved."""

    steps: int
    """Steps in all, unless the state has a course."""
    batch: int = 128
    """Examples of one optimiser step."""
    accumulate: int = 1
    """Parts that a batch is computed in, when it does not fit at once."""
    lr: float = 1e-3
    warmup: int = 200
    decay: str = "cosine"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    optimizer: str = "adamw"
    """adamw, or muon for the matrices inside a network."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: tuple[float, ...] = (0.05, 0.10)
    seed: int = 0
    time_distribution: TimeDistribution = field(default_factory=Uniform)
    weighting: Weighting = field(default_factory=Unweighted)
    objective: Objective | None = None
    """In place of `Denoiser.loss`, e.g. a distillation; the weighting multiplies it. None: the denoiser's own."""
    stratified: bool = True
    dtype: torch.dtype | None = None
    """Autocast to this, or None for float32."""
    channels_last: bool = False
    compile: bool = False
    """Compile the network at the first step, which takes about a minute and needs a C++ compiler on a CPU."""

    def lr_at(self, step: int, course: Course | None = None) -> float:
        """Learning rate of step `step` (0-based): linear warm-up in steps, then cosine over the progress of `course`
        (None: step / steps) to 0, or constant."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        if self.decay == "constant":
            return self.lr * rise
        return self.lr * rise * 0.5 * (1 + math.cos(math.pi * (course or Course.of(self.steps)).progress(step)))


@dataclass
class State:
    """All that changes in training; its dicts of tensors are what a checkpoint holds."""

    denoiser: Denoiser
    optimizer: torch.optim.Optimizer
    ema: PowerEMA
    time_distribution: TimeDistribution
    """Distribution of the training times, with what it has learned."""
    drops: bool = False
    """True where the network has dropout."""
    meter: VarianceMeter | None = None
    """Squared distance of x_hat from x at each noise level, where the denoiser is a regression."""
    step: int = 0
    """Optimiser steps tried."""
    updates: int = 0
    """Optimiser steps taken: those with a finite loss and gradient."""
    skipped_in_a_row: int = 0
    """Steps left out in a row."""
    lr_factor: float = 1.0
    """Lowered after a rollback."""
    course: Course | None = None
    """Course of a training by the clock, corrected between steps; None: config.steps, as planned."""
    spent: float = 0.0
    """Seconds of all sessions, as the caller counts them; 0 where they do not matter, so that a training of so many
    steps leaves the same checkpoint however fast it was."""

    def groups(self) -> dict[str, dict[str, Tensor]]:
        """Tensors by checkpoint file: model, ema, optimizer, and the averages of earlier once they were copied."""
        names = [name for name, _ in self.denoiser.net.named_parameters()]
        slots = self.optimizer.state_dict()["state"]
        order = [name for group in self.optimizer.param_groups for name in group["names"]]
        assert sorted(order) == sorted(names)
        moments = {f"{order[i]}/{key}": value for i, slot in slots.items() for key, value in slot.items()}
        groups = {"model": dict(self.denoiser.net.state_dict()), "ema": self.ema.state_dict(), "optimizer": moments}
        return groups if self.ema.copied is None else {**groups, COPIED: self.ema.copied.averages}

    def scalars(self) -> dict[str, Any]:
        """Numbers by name: the checkpoint's state.json."""
        numbers: dict[str, Any] = {"step": self.step, "updates": self.updates, "bad": self.skipped_in_a_row}
        numbers["lr_factor"] = self.lr_factor
        if self.spent:
            numbers["spent"] = round(self.spent, 3)
        if self.course is not None:
            numbers["course"] = [list(plan) for plan in self.course.plans]
        if self.ema.copied is not None:
            numbers[COPIED] = self.ema.copied.step
        if learned := self.time_distribution.state():
            numbers["law"] = learned  # the key that stored runs have
        if self.meter is not None:
            numbers["variance"] = self.meter.state()
        return numbers

    def rewind(self) -> None:
        """Go back to before the bad steps that were the last ones: they have changed nothing but the count."""
        self.step, self.skipped_in_a_row = self.step - self.skipped_in_a_row, 0

    def restore(self, groups: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
        """Take over a checkpoint's tensors and numbers."""
        self.denoiser.net.load_state_dict(groups["model"])
        self.ema.load_state_dict(groups["ema"])
        self.ema.copied = EarlierAverages(int(facts[COPIED]), dict(groups[COPIED])) if COPIED in facts else None
        order = [name for group in self.optimizer.param_groups for name in group["names"]]
        named = dict(self.denoiser.net.named_parameters())
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in groups["optimizer"].items():
            name, slot = key.rsplit("/", 1)
            if value.shape == named[name].shape:
                # the fused kernel walks parameter and moment together, so they must be laid out alike
                value = torch.empty_like(named[name], dtype=value.dtype).copy_(value)
            slots.setdefault(order.index(name), {})[slot] = value.detach()
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
        self.step, self.updates = int(facts["step"]), int(facts["updates"])
        self.skipped_in_a_row, self.lr_factor = int(facts["bad"]), float(facts["lr_factor"])
        self.spent = float(facts.get("spent", 0.0))
        try:
            self.course = Course.read(facts["course"]) if "course" in facts else None
        except ValueError as error:
            raise ToolkitError(f"the checkpoint cannot be gone on from: {error}") from None
        if self.time_distribution.state():
            learned = facts.get("law")
            if not isinstance(learned, dict):
                raise ToolkitError(
                    "the checkpoint holds no time distribution, which this recipe's training needs to go on"
                )
            try:
                self.time_distribution.restore(learned)
            except ValueError as error:
                raise ToolkitError(f"the checkpoint does not fit the recipe: {error}") from None
        if self.meter is not None and isinstance(known := facts.get("variance"), dict):  # older checkpoints have none
            try:
                self.meter.restore(known)
            except ValueError as error:
                raise ToolkitError(f"the checkpoint does not fit the recipe: {error}") from None


@dataclass(frozen=True)
class StepResult:
    """One optimiser step, as `fit` yields it."""

    step: int
    """Steps done, counting this one."""
    loss: float
    """Mean over the batch, before the step."""
    lr: float
    grad_norm: float
    seconds: float
    taken: bool
    """False when the loss or the gradient was not finite, and nothing was changed."""


def start(denoiser: Denoiser, config: Config) -> State:
    """A fresh optimiser, EMA and time distribution for a denoiser."""
    if config.channels_last:
        # before the optimiser sees the parameters: its moments take over their layout
        denoiser.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.compile:
        denoiser.net.compile()
    optimizer = optimizer_for(denoiser.net, config)
    average = PowerEMA(dict(denoiser.net.named_parameters()), config.ema)
    measured = isinstance(denoiser, RegressionDenoiser) and config.objective is None
    meter = VarianceMeter() if measured else None
    drops = attach(denoiser.net, dropout_uniforms)
    return State(denoiser, optimizer, average, config.time_distribution.fresh(), drops, meter)


def optimizer_for(net: nn.Module, config: Config) -> torch.optim.AdamW:
    """The optimiser of a network's parameters; decay only on matrices, not on biases, norms and embeddings."""
    embeddings = {id(m.weight) for m in net.modules() if isinstance(m, nn.Embedding)}
    hidden = hidden_weights(net) if config.optimizer == "muon" else set()
    groups: dict[tuple[bool, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in net.named_parameters():
        decayed = parameter.ndim > 1 and id(parameter) not in embeddings
        groups.setdefault((decayed, id(parameter) in hidden), []).append((name, parameter))
    optimizers = [
        {
            "params": [parameter for _, parameter in members],
            "names": [name for name, _ in members],
            "weight_decay": config.weight_decay if decayed else 0.0,
            **({"muon": True, "momentum": MOMENTUM} if turned else {}),
        }
        for (decayed, turned), members in groups.items()
    ]
    if config.optimizer == "muon":
        optimizer: torch.optim.AdamW = Muon(
            optimizers, lr=config.lr, betas=config.betas, fused=True, compute=config.dtype
        )
    else:
        optimizer = torch.optim.AdamW(optimizers, lr=config.lr, betas=config.betas, fused=True)
    return optimizer


def fit(batches: BatchSource, config: Config, state: State) -> Iterator[StepResult]:
    """Train `state.denoiser` in place from state.step to the end of its course, yielding after every step.

    The caller may correct `state.course` between steps.
    Everything random is a function of (seed, step, position), so stopping after any step and calling `fit`
    again with the restored state gives the same parameters, EMA and optimiser, bit for bit on one machine.
    A step whose loss or gradient is not finite changes nothing (`StepResult.taken` is False).
    """
    net = state.denoiser.net
    parameters = [p for p in net.parameters() if p.requires_grad]
    named = dict(net.named_parameters())
    while state.step < (state.course.steps if state.course is not None else config.steps):
        began = time.perf_counter()
        net.train()
        loss = 0.0
        pairs: list[tuple[Tensor, Tensor]] = []
        for part in range(min(config.accumulate, config.batch)):
            positions = range(config.batch)[part :: config.accumulate]
            value, *levels = batch_loss(batches, config, state, positions)
            share = len(positions) / config.batch
            (share * value).backward()
            loss += share * float(value.detach())
            pairs.append((levels[0], levels[1]))
        norm = float(nn.utils.clip_grad_norm_(parameters, config.clip))
        lr = config.lr_at(state.step, state.course) * state.lr_factor
        taken = math.isfinite(loss) and math.isfinite(norm)
        if taken:
            for group in state.optimizer.param_groups:
                group["lr"] = lr
            state.optimizer.step()
            state.updates += 1
            state.ema.update(state.updates, named)
            times, unknown = (torch.cat(parts) for parts in zip(*pairs, strict=True))
            state.time_distribution.observe(times, unknown, state.denoiser.schedule)
            if state.meter is not None:
                state.meter.observe(times, unknown, state.denoiser.schedule)
        state.optimizer.zero_grad()
        course = state.course or Course.of(config.steps)
        if state.updates and course.progress(state.step) < KEPT_AT - 1e-12 <= course.progress(state.step + 1):
            state.ema.copy(state.updates)
        state.step += 1
        state.skipped_in_a_row = 0 if taken else state.skipped_in_a_row + 1
        yield StepResult(state.step, loss, lr, norm, time.perf_counter() - began, taken)


def batch_loss(
    batches: BatchSource, config: Config, state: State, positions: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean weighted loss of the examples at `positions` of the global batch of the next step, their times (B,), and
    what is not known of each at its time (B,)."""
    denoiser, step = state.denoiser, state.step
    data, cond = batches(step, positions)
    if config.stratified:
        u = stratified(config.seed, "time", positions, config.batch, step)
    else:
        u = uniform(config.seed, "time", positions, step)
    t = state.time_distribution.time(u, denoiser.schedule)
    eps = normal(config.seed, "noise", positions, denoiser.space(data.shape[1:]), step)
    device = next(denoiser.net.parameters()).device
    data, eps = data.to(device), eps.to(device)
    t = beside(t, data)
    cond = {name: value.to(device) for name, value in cond.items()}
    if denoiser.self_conditioning:
        cond["position"] = torch.tensor(list(positions))
    if state.drops:
        cond["dropout"] = dropout_keys(config.seed, positions, step)
    if config.channels_last and data.ndim == 4:
        data, eps = (a.contiguous(memory_format=torch.channels_last) for a in (data, eps))
    with autocast(device, config.dtype):
        loss = example_losses(config.objective, denoiser, data, t, eps, cond)
        return weighted(loss, denoiser, config.weighting, t).mean(), t, denoiser.uncertainty(loss.detach(), t, cond)
