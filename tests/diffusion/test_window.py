"""Long examples by overlapping windows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import Denoise
from toolkit.diffusion.window import cut, starts, windowed


@pytest.mark.parametrize(("length", "window", "step"), [(64, 64, 8), (72, 64, 8), (1000, 64, 1), (4096, 1024, 256)])
def test_windows_cover_everything_and_overlap_by_half(length: int, window: int, step: int) -> None:
    places = starts(length, window, step)
    assert places[0] == 0 and places[-1] == length - window and all(place % step == 0 for place in places)
    assert all(0 < b - a <= window // 2 + step for a, b in zip(places, places[1:]))


def test_windows_that_do_not_fit_are_refused() -> None:
    for length, window, step in ((10, 12, 1), (64, 60, 8), (60, 32, 8), (10, 0, 1), (10, -2, 1)):
        with pytest.raises(ValueError, match="do not fit"):
            starts(length, window, step)


def test_where_windows_begin_by_hand() -> None:
    assert starts(64, 64) == [0] and starts(96, 64) == [0, 32] and starts(97, 64) == [0, 16, 33]
    assert starts(128, 64) == [0, 32, 64] and starts(129, 64) == [0, 22, 43, 65]
    assert starts(20, 8, 4) == [0, 4, 8, 12] and starts(24, 8, 8) == [0, 8, 16] and starts(1, 1) == [0]


def test_the_weights_are_a_sine_squared_in_the_middle_of_each_place() -> None:
    """Windows of 3: sin^2 of 30, 90 and 150 degrees is 1/4, 1, 1/4. Three windows, told apart by what they say."""
    said = {0: 1.0, 1: 10.0, 2: 100.0}
    denoise = windowed(lambda start: lambda x_t, t: torch.full_like(x_t, said[start]), 5, 3, [2, 0, 1, 1])
    wanted = torch.tensor(
        [1, (1 + 0.25 * 10) / 1.25, (0.25 * 1 + 10 + 0.25 * 100) / 1.5, (0.25 * 10 + 100) / 1.25, 100]
    )
    found = denoise(torch.zeros(2, 1, 5, dtype=torch.float64), torch.tensor(0.5))
    torch.testing.assert_close(found, wanted.double().expand(2, 1, 5), rtol=0, atol=1e-5)
    whole = windowed(lambda start: lambda x_t, t: x_t, 5, 3, [0, 1, 2])
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[None]
    torch.testing.assert_close(whole(x, torch.tensor(0.5)), x, rtol=0, atol=1e-15)


def test_weights_are_as_exact_as_float64() -> None:
    """Windows of 4: sin^2 of 22.5 and 67.5 degrees is (2 -+ sqrt 2) / 4. In any order, and also one window alone."""
    small, large = (2 - 2**0.5) / 4, (2 + 2**0.5) / 4
    denoise = windowed(lambda start: lambda x_t, t: torch.full_like(x_t, float(start > 0)), 6, 4, [2, 0])
    found = denoise(torch.zeros(1, 6, dtype=torch.float64), torch.tensor(0.5))[0].tolist()
    assert found == pytest.approx([0, 0, small, large, 1, 1], abs=1e-15)
    for length, window, places in ((4, 4, [0]), (96, 32, [64, 0, 32])):
        whole = windowed(lambda start: lambda x_t, t: x_t, length, window, places)
        x = torch.linspace(-1, 1, length, dtype=torch.float64)[None]
        torch.testing.assert_close(whole(x, torch.tensor(0.5)), x, rtol=0, atol=1e-15)


def test_windows_are_asked_for_their_own_place_once() -> None:
    seen: list[int] = []

    def part(start: int) -> Denoise:
        seen.append(start)
        return lambda x_t, t: x_t + start

    denoise = windowed(part, 6, 2, [4, 0, 2])
    x = torch.arange(6.0)[None]
    assert denoise(x, torch.zeros(())).tolist() == [[0, 1, 4, 5, 8, 9]] == denoise(x, torch.zeros(())).tolist()
    assert sorted(seen) == [0, 2, 4]


def test_places_that_do_not_cover_or_reach_over_are_refused() -> None:
    for places in ([0, 3], [1, 3], []):
        with pytest.raises(ValueError, match="leave out places of 5"):
            windowed(lambda start: lambda x_t, t: x_t, 5, 2, places)
    for places in ([0, 2, 4], [-1, 1, 3]):
        with pytest.raises(ValueError, match="reach over 5 positions"):
            windowed(lambda start: lambda x_t, t: x_t, 5, 2, places)


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
    assert cut({"both": torch.zeros(2, 64)}, 16, 32, 64)["both"].shape == (2, 64)
    assert cut(cond, 32, 16, 64)["mel"][0, 0].tolist() == [8, 9, 10, 11]
    # a start, and a window, that is no whole number of frames
    for start, window in ((18, 32), (16, 30)):
        with pytest.raises(ValueError, match="a condition with 16 frames cannot be cut"):
            cut({"mel": torch.zeros(1, 1, 16)}, start, window, 64)
