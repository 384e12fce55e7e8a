"""Number format of the network's arithmetic, and what the machine offers.

bfloat16 pays only where the hardware multiplies it; elsewhere torch emulates it, correctly and slowly. So "auto"
looks for AMX or AVX512-BF16 (or the ARM counterpart), or a GPU that has it; "bf16" takes it in any case.
"""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from toolkit.errors import unknown


def resolve(precision: str, device: torch.device | str) -> torch.dtype | None:
    """The autocast type for "auto", "fp32" or "bf16" on `device`; None is plain float32. Raises UsageError."""
    if precision not in ("auto", "fp32", "bf16"):
        raise unknown("precision", precision, ("auto", "fp32", "bf16"))
    if precision == "bf16" or (precision == "auto" and fast_bf16(device)):
        return torch.bfloat16
    return None


def autocast(device: torch.device | str, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Run layers in `dtype` where that is safe, keeping parameters as they are; nothing for None."""
    return nullcontext() if dtype is None else torch.autocast(torch.device(device).type, dtype)


def fast_bf16(device: torch.device | str) -> bool:
    """Return True where `device` multiplies bfloat16 in hardware."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in ("arm64", "aarch64"):
        # On x86 this one also says yes to AVX512 without bf16, which is slower than float32.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return _has("amx_tile") or _has("avx512_bf16")


def machine(device: torch.device, dtype: torch.dtype | None) -> dict[str, str | int | bool]:
    """Return the machine of a training, for its report: `features`, and what is used of them."""
    used = {"device": str(device), "precision": "float32" if dtype is None else str(dtype).removeprefix("torch.")}
    return {**features(), "python": platform.python_version(), **used}


def features() -> dict[str, str | int | bool]:
    """Return what `toolkit doctor` prints about this machine; values are text, counts or yes and no."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "amx": _has("amx_tile"),
        "avx512_bf16": _has("avx512_bf16"),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "fast_bf16": fast_bf16("cpu"),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda or "",
        "gpu": ", ".join(gpus),
        "gpu_fast_bf16": bool(gpus) and fast_bf16("cuda"),
    }


def _has(feature: str) -> bool:
    # torch keeps these checks private, so a release without one means "not that we know".
    return bool(getattr(torch.cpu, f"_is_{feature}_supported", bool)())


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
