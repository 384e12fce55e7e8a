"""The device policy, and that nothing in float64 reaches a device that has none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from modalities.text.network.denoiser import TokenDenoiser
from modalities.text.network.transformer import build
from modalities.text.options import Model
from toolkit import device
from toolkit.diffusion import DPMSolver3M, RectifiedFlow, RegressionDenoiser, conditional, schedule
from toolkit.diffusion.sampler import Memory
from toolkit.errors import UsageError
from toolkit.nn import UNet


def test_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.pick() == device.pick("cpu") == torch.device("cpu")
    for name, said in (
        ("cuda", "CUDA"),
        ("cuda:1", "CUDA"),
        ("gpu", "CUDA"),
        ("mps", "Apple"),
        ("meta", "only cpu"),
        ("tpu9", "no device"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            device.pick(name)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.pick("gpu").type == "mps" and device.pick().type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.pick().type == device.pick("gpu").type == "cuda" and device.pick("cuda:1").index == 1
    with pytest.raises(UsageError, match="there are 2"):
        device.pick("cuda:2")


class Refuse64(TorchDispatchMode):
    """Stands for a device without float64: any such tensor on "meta" is an error."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor) and value.device.type == "meta":
                assert value.dtype != torch.float64, f"{func} made float64"
        return result


@pytest.mark.parametrize("prediction", ["v", "flow", "edm", "x0"])
def test_no_float64_where_there_is_none(prediction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "NO_FLOAT64", {"meta"})
    denoiser = RegressionDenoiser(UNet(2, 1, [16, 32], labels=2).to("meta"), RectifiedFlow(), prediction)
    x, t = torch.zeros(2, 1, 8, 8, device="meta"), torch.tensor([0.2, 0.7], dtype=torch.float64)
    label = {"label": torch.zeros(2, dtype=torch.int64, device="meta")}
    with Refuse64():
        denoiser.loss(x, schedule.beside(t, x), x, label).mean().backward()
        assert denoiser.uncertainty(torch.zeros(2, device="meta"), schedule.beside(t, x)).device.type == "meta"
        step = DPMSolver3M().step(conditional(denoiser, label), RectifiedFlow(), x, 0.9, 0.5, lambda: x, Memory(2))
    assert step.shape == x.shape and step.dtype == torch.float32


def test_tokens_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "NO_FLOAT64", {"meta"})
    net = build(Model(preset="smoke", width=16, depth=1, dims=8), 9, 0).to("meta")
    denoiser = TokenDenoiser(net, RectifiedFlow(), 0)
    tokens = torch.zeros(2, 6, dtype=torch.int64, device="meta")
    noise, t = torch.zeros(2, 8, 6, device="meta"), torch.tensor([0.2, 0.7], dtype=torch.float64)
    with Refuse64():
        denoiser.loss(tokens, schedule.beside(t, tokens), noise).mean().backward()
        assert denoiser(noise, torch.tensor(0.5, dtype=torch.float64)).dtype == torch.float32
