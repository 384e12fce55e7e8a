"""The weights of a checkpoint: how large their files may be, counted before any is read, and which go into a network.

A network is counted on torch's meta device, where tensors have shapes and no numbers, so that a stranger's few lines
of a recipe cannot ask for more memory than the weights beside them have.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toolkit import memory
from toolkit.diffusion.denoiser import Denoiser
from toolkit.errors import ToolkitError, UsageError
from toolkit.modality import Modality
from toolkit.recipe.schema import Recipe
from toolkit.training import initial
from toolkit.training.loop import COPIED
from toolkit.training.storage.manifest import Span, weight_bytes

TRAINED = 6
"""Numbers in memory for each parameter in training: itself, its gradient, two moments, two averages."""
SLACK = 1 << 20
"""Bytes by which a file may differ for its names and for buffers of another version."""


def without_numbers(modality: Modality) -> nn.Module | None:
    """Return the network of the [model] section without any numbers; None for one of a user's own code.

    That has been named, and may look at its numbers while it is built, which ours do not.
    """
    if not type(modality).network.__module__.startswith("modalities."):
        return None
    return initial.without_numbers(modality.network)


def spans(net: nn.Module, widths: int) -> dict[str, Span]:
    """Return the least and the most bytes of each file of a checkpoint of `net` with so many averages."""
    whole = weight_bytes(dict(net.state_dict()))
    parameters = 4 * sum(parameter.numel() for parameter in net.parameters())
    averages = Span(widths * parameters // 2 - SLACK, 2 * widths * parameters + SLACK)
    return {
        "model": Span(whole // 2 - SLACK, 2 * whole + SLACK),
        "ema": averages,
        COPIED: averages,
        "optimizer": Span(0, 4 * parameters + SLACK),
    }


def require_to_load(net: nn.Module, widths: int) -> None:
    """Raise UsageError where the memory does not hold a network and what is read to load it."""
    size = sum(parameter.numel() for parameter in net.parameters())
    memory.require(
        4 * size * (2 + widths), f"a network of {size:,} parameters", "take a machine with more, or a smaller run"
    )


def require_to_train(recipe: Recipe, modality: Modality, device: torch.device) -> None:
    """Raise UsageError where the network, or a batch, that a recipe asks for does not fit into the memory."""
    numbers = recipe.train.batch
    for side in modality.shape:
        numbers *= side
    what = f"a batch of {recipe.train.batch:,} examples of shape {' x '.join(map(str, modality.shape))}"
    memory.require(8 * numbers, what, "take a smaller --batch")
    if (
        recipe.network is not None
        or recipe.diffusion.denoiser is not None
        or (net := without_numbers(modality)) is None
    ):
        return
    size = sum(parameter.numel() for parameter in net.parameters())
    fix = "take a smaller preset, --width or --depth"
    memory.require(4 * TRAINED * size, f"training a network of {size:,} parameters", fix, device)


def resolve_ema_width(recipe: Recipe, ema: float | None) -> float:
    """Return the EMA width to use: asked for, else the recipe's choice, else the last one kept; 0 = no average.

    Raises UsageError.
    """
    width = ema if ema is not None else recipe.sample.ema if recipe.sample.ema is not None else recipe.train.ema[-1]
    if width and width not in recipe.train.ema:
        widths = ", ".join(map(str, recipe.train.ema))
        raise UsageError(f"EMA width {width:g} was not kept; this run has {widths}, and 0 is the weights themselves")
    return width


def load_ema_weights(denoiser: Denoiser, groups: Mapping[str, Mapping[str, Tensor]], width: float, where: str) -> None:
    """Put the EMA weights of one width, or for 0 the weights themselves, into the network.

    Raises ToolkitError when they do not fit it.
    """
    prefix = f"{width:g}/"
    averaged = {k.removeprefix(prefix): value for k, value in groups["ema"].items() if k.startswith(prefix)}
    try:
        # only parameters are averaged; what else a network keeps comes from the model as it is
        denoiser.net.load_state_dict({**groups["model"], **averaged}, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ToolkitError(f"{where} does not fit the recipe beside it ({first})") from None
