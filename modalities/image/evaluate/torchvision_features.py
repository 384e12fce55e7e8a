"""Features of pictures from a network of the user's: a torchvision model with weights in a safetensors file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from torch import Tensor, nn
from torch.nn import functional

from modalities.image.view.picture import lay
from toolkit.errors import DataError, UsageError, unknown

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of the pictures that torchvision's classifiers were trained on (red, green, blue; 0 to 1)."""
_AT_ONCE = 64


class TorchvisionFeatures:
    """Inputs of the last linear layer of a torchvision classifier, for pictures (B, C, H, W) uint8."""

    accuracy = float("nan")
    tested = 0
    pretext = False
    names: tuple[str, ...] = ()

    def __init__(self, net: nn.Module, name: str, size: int = SIZE) -> None:
        path = last_linear(net)
        if not path:
            raise UsageError(f"model of {name} has no linear layer, so it is no classifier")
        parent, _, last = path.rpartition(".")
        setattr(net.get_submodule(parent), last, nn.Identity())
        self.net, self.name, self.size = net.eval(), name, size

    @torch.inference_mode()
    def features(self, raw: Tensor) -> Tensor:
        """Return features (B, d) float32 of pictures (B, C, H, W) uint8."""
        return torch.cat([self.net(self._prepare(part)) for part in raw.split(_AT_ONCE)])

    def _prepare(self, raw: Tensor) -> Tensor:
        x = lay(raw, 255.0).float().expand(-1, 3, -1, -1) / 255  # these networks know no transparency
        x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def load(spec: str) -> TorchvisionFeatures:
    """Load "FILE.safetensors:MODEL" or "FILE.safetensors:MODEL:SIZE"; pictures are resized to SIZE (224).

    The name has a hash of the file, because distances of two networks do not compare. Raises UsageError, DataError.
    """
    from torchvision import models

    file, _, rest = spec.partition(".safetensors:")
    model, _, side = rest.partition(":")
    if not file or not model or (side and not (side.isdecimal() and 16 <= int(side) <= 1024)):
        raise UsageError(f"--features takes FILE.safetensors:MODEL or FILE.safetensors:MODEL:SIZE, not '{spec}'")
    path = Path(f"{file}.safetensors").expanduser()
    names = models.list_models(module=models)
    if model not in names:
        raise unknown("model of torchvision", model, names)
    try:
        content = path.read_bytes()
        weights = parse(content)
    except FileNotFoundError:
        raise DataError(f"no such file: {path}") from None
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from None
    with torch.random.fork_rng(devices=[]):
        net = models.get_model(model, weights=None)
        head = weights.get(f"{last_linear(net)}.weight", torch.zeros(0))
        if len(head) not in (0, 1000):  # trained on other labels than torchvision's own
            net = models.get_model(model, weights=None, num_classes=len(head))
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(f"{path} does not hold the weights of {model}: {reason:.200}") from None
    return TorchvisionFeatures(net, f"{model}-{hashlib.sha256(content).hexdigest()[:6]}", int(side or SIZE))


def last_linear(net: nn.Module) -> str:
    """Return the path of the last linear layer in a network, or "" when there is none."""
    return next((path for path, layer in reversed(list(net.named_modules())) if isinstance(layer, nn.Linear)), "")
