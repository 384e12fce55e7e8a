"""The number format that is chosen on each machine; float32 stays float32."""

from __future__ import annotations

import platform

import pytest
import torch
from torch import nn

from toolkit.errors import UsageError
from toolkit.training import precision


def machine(monkeypatch: pytest.MonkeyPatch, arch: str, *has: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for feature in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(
            torch.cpu, f"_is_{feature}_supported", lambda feature=feature: feature in has, raising=False
        )


@pytest.mark.parametrize(
    ("has", "auto"),
    [((), None), (("avx512_bf16",), torch.bfloat16), (("amx_tile",), torch.bfloat16)],
)
def test_auto_takes_bf16_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, has: tuple[str, ...], auto: torch.dtype | None
) -> None:
    machine(monkeypatch, "x86_64", *has)
    assert precision.resolve("auto", "cpu") == auto
    assert precision.resolve("fp32", "cpu") is None
    assert precision.resolve("bf16", "cpu") == torch.bfloat16
    assert precision.resolve("auto", torch.device("meta")) is None
    assert precision.features()["fast_bf16"] == (auto is not None)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert precision.resolve("auto", "cpu") is None


@pytest.mark.parametrize("fast", [True, False])
def test_auto_on_a_gpu(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    asked: list[bool] = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return fast

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert precision.resolve("auto", "cuda:0") == (torch.bfloat16 if fast else None)
    assert asked == [False]


def test_a_torch_without_the_private_checks_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "x86_64", "amx_tile")
    for feature in ("amx_tile", "avx512_bf16"):
        monkeypatch.delattr(torch.cpu, f"_is_{feature}_supported")
    assert precision.resolve("auto", "cpu") is None


def test_an_unknown_precision_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown precision 'bf32'; did you mean"):
        precision.resolve("bf32", "cpu")


def test_autocast_computes_in_bf16_and_leaves_parameters_alone() -> None:
    layer, x = nn.Linear(64, 64), torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    plain = layer(x).detach()
    with precision.autocast("cpu", None):
        assert torch.equal(layer(x), plain)
    with precision.autocast(torch.device("cpu"), torch.bfloat16):
        fast = layer(x).detach()
    assert fast.dtype == torch.bfloat16 and layer.weight.dtype == torch.float32
    assert 0 < float((fast.float() - plain).abs().max()) < 0.03
    assert torch.equal(layer(x), plain)


def test_features_say_what_runs() -> None:
    found = precision.features()
    assert found["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert str(found["processor"]) and int(found["cores"]) >= 1
    assert found["fast_bf16"] == (precision.resolve("auto", "cpu") == torch.bfloat16)
    assert all(isinstance(value, (str, int, bool)) and "\n" not in str(value) for value in found.values())
