"""Grids: n steps, descending, to 0, for every n."""

from __future__ import annotations

import pytest
import torch

from toolkit.diffusion import DDIM, GRIDS, SCHEDULES, VE, LinearChain, RectifiedFlow, Shift, ZeroTerminalSNR, trajectory

EVERY = {
    **{name: make() for name, make in SCHEDULES.items()},
    "shifted": Shift(RectifiedFlow(), 3.0),
    "shifted ve": Shift(VE(), 2.0),
    "zero terminal": ZeroTerminalSNR(LinearChain()),
}


@pytest.mark.parametrize("name", list(GRIDS))
@pytest.mark.parametrize("schedule", list(EVERY))
def test_n_steps_descending_to_zero(schedule: str, name: str) -> None:
    chosen = EVERY[schedule]
    if name in ("leading", "trailing", "linspace") and chosen.T is None:
        with pytest.raises(ValueError, match="needs a discrete chain"):
            GRIDS[name](chosen, 5)
        return
    for n in range(1, 61):
        times = GRIDS[name](chosen, n)
        assert times.shape == (n + 1,) and times.dtype == torch.float64
        assert float(times[-1]) == 0 and 0 < float(times[0]) <= 1
        assert bool((times.diff() < 0).all())


@pytest.mark.parametrize("T", [1000, 999, 61])
@pytest.mark.parametrize("name", ["leading", "trailing", "linspace"])
def test_chain_grids_visit_the_chain_and_land_where_they_say(T: int, name: str) -> None:
    chain = LinearChain(T, rescale=T > 100)
    for n in range(1, 61):
        times = GRIDS[name](chain, n)
        steps = times * T
        assert float((steps - steps.round()).abs().max()) < 1e-9
        if name != "leading":
            assert float(times[0]) == 1.0
        if name == "linspace" and n > 1:
            assert round(float(steps[-2])) == 1
        landed = [s.s for s in trajectory(lambda x, t: x, chain, DDIM(), torch.ones(1, 1), times)]
        assert landed == times[1:].tolist()


def test_trailing_by_hand() -> None:
    """Seven steps of 1000 / 7 = 142.86 down from 1000, each rounded to the nearest (Lin et al. 2024)."""
    found = GRIDS["trailing"](LinearChain(), 7) * 1000
    assert found.round().tolist() == [1000, 857, 714, 571, 429, 286, 143, 0]


def test_a_level_that_the_schedule_lacks_becomes_its_own_end() -> None:
    chain = LinearChain()
    most = float(chain.noise_ratio(torch.ones(())))
    for name in ("log-snr", "karras"):
        first = float(chain.noise_ratio(GRIDS[name](chain, 10, 0.02, 1e6)[0]))
        assert abs(first / most - 1) < 1e-9


def test_bad_requests() -> None:
    chain = LinearChain(100)
    with pytest.raises(ValueError, match="at least one step"):
        GRIDS["uniform"](chain, 0)
    with pytest.raises(ValueError, match="101 steps asked of a chain of 100"):
        GRIDS["trailing"](chain, 101)
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        GRIDS["karras"](chain, 5, 2.0, 1.0)
