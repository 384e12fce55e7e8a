"""Random numbers are functions of where they are used."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toolkit.diffusion import NoiseStream, normal, randomness, seeded_generator, stratified
from toolkit.diffusion.randomness import Draws, dropout_keys, dropout_uniforms, key, uniform, words


def philox(counter: list[int], secret: list[int], rounds: int = 10) -> list[int]:
    """Philox-4x64 in whole numbers of Python's, from the paper (Salmon et al. 2011, section 3.3)."""
    low, (a, b, c, d), (k, m) = (1 << 64) - 1, counter, secret
    for _ in range(rounds):
        p, q = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (q >> 64) ^ b ^ k, q & low, (p >> 64) ^ d ^ m, p & low
        k, m = (k + 0x9E3779B97F4A7C15) & low, (m + 0xBB67AE8584CAA73B) & low
    return [a, b, c, d]


def test_the_published_vectors() -> None:
    """Known answers that the paper's authors distribute with their code."""
    ones = (1 << 64) - 1
    assert philox([0] * 4, [0] * 2) == [
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B,
    ]  # fmt: skip
    assert philox([ones] * 4, [ones] * 2) == [
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    ]  # fmt: skip


def test_words_are_philox_at_their_position() -> None:
    secret = 0x0123456789ABCDEF_FEDCBA9876543210
    halves = [secret & ((1 << 64) - 1), secret >> 64]
    found = words(secret, [5, 0, 2**63], 10)
    for row, place in zip(found.tolist(), (5, 0, 2**63), strict=True):
        # numpy counts before it draws, so the first block is number 1
        expected = [word for block in (1, 2, 3) for word in philox([block, 0, 0, place], halves)]
        assert row == expected[:10]
    with pytest.raises(ValueError, match="positions are whole numbers"):
        words(1, [-1], 1)


def test_a_position_does_not_depend_on_its_batch() -> None:
    together = normal(3, "noise", range(8), (2, 4), 17)
    for order in ([5], [7, 0, 3], [1, 1]):
        assert torch.equal(normal(3, "noise", order, (2, 4), 17), together[order])
    assert torch.equal(uniform(3, "drop", [4, 2], 17), uniform(3, "drop", range(8), 17)[[4, 2]])


def test_a_place_does_not_depend_on_how_many_follow() -> None:
    for shape in ((7,), (3, 7), (2, 3, 7)):
        whole = normal(3, "noise", range(4), shape)
        assert torch.equal(normal(3, "noise", range(4), (*shape[:-1], 5)), whole[..., :5])
        draws = Draws(3, range(4))
        assert torch.equal(draws.uniform("u", *shape[:-1], 5), draws.uniform("u", *shape)[..., :5])


def test_no_two_positions_and_steps_have_the_same_noise() -> None:
    """With 32 bits, 200,000 streams have some five equal pairs; these two were one."""
    a, b = NoiseStream(0, "sample", [1537, 48596], (1, 28, 28))()
    assert not torch.equal(a, b)
    first = torch.cat([uniform(0, "noise", range(20_000), step) for step in range(10)])
    assert len(first.unique()) == 200_000


def test_numbers_of_any_kind_are_the_same_key() -> None:
    expected = NoiseStream(1, "z", [3, 4], (5,))()
    for kind in (np.int64, np.uint8, torch.tensor):
        assert torch.equal(NoiseStream(kind(1), "z", [kind(3), kind(4)], (5,))(), expected)
        assert torch.equal(normal(kind(2), "z", [kind(3)], (5,), kind(9)), normal(2, "z", [3], (5,), 9))
        assert torch.equal(
            torch.rand(3, generator=seeded_generator(kind(2), kind(3))), torch.rand(3, generator=seeded_generator(2, 3))
        )
    assert torch.equal(NoiseStream(1, "z", torch.tensor([3, 4]), (5,))(), expected)
    for wrong in (1.0, None, b"a"):
        with pytest.raises(TypeError):
            key(0, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        normal(0, "z", [1.5], (2,))  # type: ignore[list-item]


def test_resuming_needs_only_the_step() -> None:
    first = [normal(0, "noise", range(4), (3,), step) for step in range(6)]
    torch.manual_seed(99)
    torch.randn(1000)  # what ran before does not matter
    assert all(torch.equal(normal(0, "noise", range(4), (3,), step), first[step]) for step in (5, 3, 4))


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", 1, 0), (0, "a", "1"), (0, "a1"), (0, "a', 1")]
    draws = [float(torch.randn((), generator=seeded_generator(*parts))) for parts in keys]  # type: ignore[arg-type]
    assert len(set(draws)) == len(keys) == len({key(*parts) for parts in keys})  # type: ignore[arg-type]


def test_a_generator_has_a_whole_random_state() -> None:
    """Beside numpy's Mersenne Twister in the same state: all 624 words are ours, none torch's."""
    drawn = words(key(3, "a", "generator"), [0], 312).view(np.uint32)[0]
    other = np.random.MT19937()
    other.state = {"bit_generator": "MT19937", "state": {"key": drawn, "pos": 624}}
    expected = (other.random_raw(3000) & np.uint64(0xFFFFFF)).astype(np.float64) * 2.0**-24
    assert torch.equal(torch.rand(3000, generator=seeded_generator(3, "a")), torch.from_numpy(expected).float())


def test_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    normal(0, "x", range(3), (2,))
    NoiseStream(0, "x", range(3), (2,))()
    stratified(0, "x", range(3), 3)
    seeded_generator(0, "x")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_normal_draws_are_normal_and_independent() -> None:
    x = normal(0, "x", range(2000), (500,)).double()
    n = x.numel()
    for moment, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((x**moment).mean()) - expected) < 4 * math.sqrt(variance / n)
    assert 4.5 < float(x.abs().max()) < 6.8
    for tail in (1.0, 2.0, 3.0, 4.0):
        share = math.erfc(tail / math.sqrt(2))
        assert abs(float((x.abs() > tail).double().mean()) - share) < 4 * math.sqrt(share / n)
    correlation = torch.corrcoef(x[:, :40].T)
    assert float((correlation - torch.eye(40)).abs().max()) < 5 / math.sqrt(2000)
    # the two of a pair have one radius: their squares must not know of each other either
    squares = torch.corrcoef(x[:, :40].square().T)
    assert float((squares - torch.eye(40)).abs().max()) < 5 / math.sqrt(2000)


def test_no_word_gives_an_infinite_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest and the largest word: the logarithm of 0 is one draw in 2^32 away."""
    for word in (0, (1 << 64) - 1, (1 << 32) - 1):
        monkeypatch.setattr(randomness, "words", lambda secret, places, n, w=word: np.full((2, n), w, np.uint64))
        x = normal(0, "x", range(2), (8,))
        assert bool(x.isfinite().all()) and float(x.abs().max()) < 6.8
        u = uniform(0, "x", range(2)), Draws(0, range(2)).uniform("x", 4)
        assert all(float(part.min()) >= 0 and float(part.max()) < 1 for part in u)


def test_a_key_has_128_bits() -> None:
    keys = [key(0, "x", i) for i in range(200)]
    for bit in range(128):
        assert 60 < sum(k >> bit & 1 for k in keys) < 140  # 5.6 deviations
    assert max(keys) < 1 << 128


def test_uniform_draws_fill_the_unit_interval() -> None:
    for u in (
        Draws(0, range(50_000)).uniform("u", 2),
        uniform(0, "u", range(100_000)),
        dropout_uniforms("l", dropout_keys(0, range(50_000), 1), 2),
    ):
        assert float(u.min()) >= 0 and float(u.max()) < 1
        count = torch.histc(u.float(), 64, 0, 1)
        assert float((count - 100_000 / 64).square().sum() / (100_000 / 64)) < 63 + 5 * math.sqrt(2 * 63)


def test_what_is_dropped_belongs_to_example_and_layer() -> None:
    keys = dropout_keys(0, range(6), 3)
    whole = dropout_uniforms("a", keys, 10)
    assert torch.equal(dropout_uniforms("a", keys[[4, 1]], 10), whole[[4, 1]])
    others = [
        dropout_uniforms("b", keys, 10),
        dropout_uniforms("a", dropout_keys(0, range(6), 4), 10),
        dropout_uniforms("a", keys.flip(0), 10),
    ]
    others.append(dropout_uniforms("a", dropout_keys(1, range(6), 3), 10))
    assert all(float((whole == other).double().mean()) < 0.05 for other in others)


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
