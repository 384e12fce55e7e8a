"""A network's first weights as functions of (seed, name of the parameter), not of the order of its layers.

So a network begins alike on any number of processes, and a layer more or less leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from toolkit.diffusion.randomness import seeded_generator

_RANDOM = {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"}
_RANDOM |= {"xavier_normal_", "orthogonal_", "sparse_"}
_CONSTANT = {"zeros_", "ones_", "constant_", "eye_", "dirac_", "zero_", "fill_", "copy_"}


_EMPTY = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}


class _Call(NamedTuple):
    """Something that was done to a parameter in its place."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _History:
    """The operations that made a parameter: a random filling, and what followed."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self.calls: list[_Call] = []
        self.version = -1
        """torch's count of changes after the last call that was seen."""

    def note(self, name: str, call: _Call) -> None:
        if name in _CONSTANT:
            self.calls = []
        elif name in _RANDOM:
            self.calls = [call]
        elif self.calls:
            self.calls.append(call)
        self.version = self.parameter._version

    def again(self, draw: torch.Generator) -> None:
        """Draw the same law by `draw`. A parameter that was also changed unseen, by a view of it, stays as it is."""
        if not self.calls or self.version != self.parameter._version:
            return
        with torch.no_grad():
            for i, (function, args, kwargs) in enumerate(self.calls):
                function(self.parameter, *args, **kwargs, **({} if i else {"generator": draw}))


class _Watch(TorchFunctionMode):
    """Sees what is done in place to parameters while a network is built."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, _History] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        result = func(*args, **options)
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("_"):
            # torch.nn.init hands its tensor on by name, methods hand on themselves
            target = args[0] if args else options.pop("tensor", None)
            if isinstance(target, nn.Parameter):
                options.pop("generator", None)
                # the history keeps its parameter, so that its id is no other's
                self.seen.setdefault(id(target), _History(target)).note(name, _Call(func, args[1:], options))
        return result


class _WithoutNumbers(TorchFunctionMode):
    """Makes tensors on the meta device, and leaves them as they are made.

    `with torch.device("meta")` says the same, and fills them, for which it imports a second of torch.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        target = args[0] if args else options.get("tensor")
        if getattr(func, "__name__", "") in _RANDOM | _CONSTANT and getattr(target, "is_meta", False):
            return target
        if func in _EMPTY and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


def without_numbers(build: Callable[[], nn.Module]) -> nn.Module:
    """Return what `build` gives, with parameters that have shapes and no numbers, and so take no memory."""
    with _WithoutNumbers():
        return build()


def initialise(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return what `build` gives, each parameter drawn from the law that its module chose, by (seed, its name).

    Parameters that were made from random tensors, and not filled in place, depend on (seed, order) instead.
    torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]), _Watch() as watch:
        torch.manual_seed(seed)
        net = build()
    for name, parameter in net.named_parameters():
        if (history := watch.seen.get(id(parameter))) is not None:
            history.again(seeded_generator(seed, "initial", name))
    return net
