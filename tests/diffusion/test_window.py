"""Long examples by overlapping windows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toolkit.diffusion.window import cut, starts, windowed


@pytest.mark.parametrize(("length", "window", "step"), [(64, 64, 8), (72, 64, 8), (1000, 64, 1), (4096, 1024, 256)])
def test_windows_cover_everything_and_overlap_by_half(length: int, window: int, step: int) -> None:
    places = starts(length, window, step)
    assert places[0] == 0 and places[-1] == length - window and all(place % step == 0 for place in places)
    assert all(0 < b - a <= window // 2 + step for a, b in zip(places, places[1:]))


def test_windows_that_do_not_fit_are_refused() -> None:
    for length, window, step in ((10, 12, 1), (64, 60, 8), (60, 32, 8)):
        with pytest.raises(ValueError, match="do not fit"):
            starts(length, window, step)


def test_a_denoiser_of_single_positions_is_not_changed_by_windows() -> None:
    x = torch.randn(2, 1, 100)
    whole = windowed(lambda start: lambda x_t, t: x_t * t.float(), 100, 40, starts(100, 40))
    t = torch.tensor(0.5, dtype=torch.float64)
    assert float((whole(x, t) - 0.5 * x).abs().max()) < 1e-6


def test_neighbouring_windows_fade_into_each_other_without_a_jump() -> None:
    """Windows that disagree by 1 must not leave a step larger than the fade's own slope, pi / window."""
    places = starts(300, 100)

    def part(start: int) -> object:
        return lambda x_t, t: torch.full_like(x_t, float(places.index(start) % 2))

    blended = windowed(part, 300, 100, places)(torch.zeros(1, 1, 300), torch.zeros(()))  # type: ignore[arg-type]
    assert float(blended.diff(dim=-1).abs().max()) < 1.1 * torch.pi / 100 < float(blended.max() - blended.min())


def test_a_long_gaussian_is_sampled_exactly_by_windows() -> None:
    """For white data E[x | x_t] is a factor at each position: the windows together are the whole, to rounding."""
    from toolkit.diffusion import GRIDS, DPMSolver2M, NoiseStream, RectifiedFlow, sample

    schedule = RectifiedFlow()

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return float(alpha / (alpha**2 + sigma**2)) * x_t

    x_T = NoiseStream(0, "sample", range(2), (1, 96))()
    times = GRIDS["log-snr"](schedule, 8)
    whole = sample(denoise, schedule, DPMSolver2M(), x_T, times)
    parts = sample(windowed(lambda start: denoise, 96, 32, starts(96, 32)), schedule, DPMSolver2M(), x_T, times)
    assert float((whole - parts).abs().max()) < 1e-5


def test_conditions_are_cut_at_their_own_rate() -> None:
    cond = {
        "label": torch.tensor([1, 2]),
        "mask": torch.arange(64.0).expand(2, 1, 64),
        "mel": torch.arange(16.0)[None, None],
    }
    found = cut(cond, 16, 32, 64)
    assert found["label"].tolist() == [1, 2]
    assert found["mask"][0, 0].tolist() == list(range(16, 48)) and found["mel"][0, 0].tolist() == list(range(4, 12))
    with pytest.raises(ValueError, match="cannot be cut"):
        cut({"mel": torch.zeros(1, 1, 16)}, 18, 32, 64)
