"""Random numbers are functions of where they are used."""

from __future__ import annotations

import torch

from toolkit.diffusion import NoiseStream, generator, normal, stratified
from toolkit.diffusion.randomness import uniform


def test_a_position_does_not_depend_on_its_batch() -> None:
    together = normal(3, "noise", range(8), (2, 4), 17)
    for order in ([5], [7, 0, 3], [1, 1]):
        assert torch.equal(normal(3, "noise", order, (2, 4), 17), together[order])
    assert torch.equal(uniform(3, "drop", [4, 2], 17), uniform(3, "drop", range(8), 17)[[4, 2]])


def test_resuming_needs_only_the_step() -> None:
    first = [normal(0, "noise", range(4), (3,), step) for step in range(6)]
    torch.manual_seed(99)
    torch.randn(1000)  # what ran before does not matter
    assert all(torch.equal(normal(0, "noise", range(4), (3,), step), first[step]) for step in (5, 3, 4))


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", 1, 0), (0, "a", "1")]
    draws = [float(torch.randn((), generator=generator(*key))) for key in keys]  # type: ignore[arg-type]
    assert len(set(draws)) == len(keys)


def test_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    normal(0, "x", range(3), (2,))
    NoiseStream(0, "x", range(3), (2,))()
    stratified(0, "x", range(3), 3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_normal_draws_are_normal_and_independent() -> None:
    x = normal(0, "x", range(2000), (20,)).double()
    assert abs(float(x.mean())) < 0.02 and abs(float(x.var()) - 1) < 0.03  # 4 deviations at 40,000 draws
    correlation = torch.corrcoef(x.T)
    assert float((correlation - torch.eye(20)).abs().max()) < 0.1


def test_stratified_ranks_hold_one_set_together() -> None:
    whole = stratified(1, "time", range(12), 12, 5)
    parts = torch.cat([stratified(1, "time", range(r, 12, 3), 12, 5) for r in range(3)])
    assert torch.equal(parts.sort().values, whole.sort().values)
    gaps = whole.sort().values.diff()
    assert float((gaps - 1 / 12).abs().max()) < 1e-12
    assert not torch.equal(whole, stratified(1, "time", range(12), 12, 6))


def test_a_stream_goes_on_and_each_position_has_its_own() -> None:
    a, b = NoiseStream(0, "z", [3, 4], (5,)), NoiseStream(0, "z", [4], (5,))
    first, second = a(), a()
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    assert torch.equal(b()[0], first[1]) and torch.equal(b()[0], second[1])
