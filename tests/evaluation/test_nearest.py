"""Nearest neighbours, aligned distances and correlations against sums in plain Python and known sounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toolkit.evaluation.metrics.nearest import (
    aligned_distances,
    correlation,
    nearest,
    nearest_aligned,
    nearest_aligned_of_many,
    nearest_of_many,
)


def test_nearest_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.tensor([[3.0, 4.0], [10.0, 1.0], [100.0, 0.0]])
    distance, which = nearest(a, b)
    assert distance.tolist() == [5.0, 1.0] and which.tolist() == [0, 1]
    alone, which = nearest(b[[2, 0]], b, own=torch.tensor([2, 0]))
    assert alone.tolist() == pytest.approx([math.hypot(90, 1), math.hypot(7, 3)]) and which.tolist() == [1, 1]
    with pytest.raises(ValueError, match="nothing to be near to"):
        nearest(b[:1], b[:1], own=torch.tensor([0]))
    with pytest.raises(ValueError, match="for each of 3 rows"):
        nearest(b, b, own=torch.tensor([0]))


def plain(a: torch.Tensor, b: torch.Tensor, shift: int) -> float:
    """The definition, cell by cell."""
    bands, frames = a.shape
    found = []
    for place in range(-shift, shift + 1):
        total, places = 0.0, 0
        for t in range(frames):
            other = [float(b[i, t - place]) if 0 <= t - place < frames else 0.0 for i in range(bands)]
            mine = [float(a[i, t]) for i in range(bands)]
            if any(mine) or any(other):
                places += 1
            total += sum((x - y) ** 2 for x, y in zip(mine, other))
        found.append(math.sqrt(total / (bands * max(places, 1))))
    return min(found)


def test_aligned_is_what_it_says() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (
        torch.rand(n, 3, 9, generator=draw) * (torch.rand(n, 1, 9, generator=draw) > 0.4) * 60 for n in (4, 5)
    )  # silent places in between
    found = aligned_distances(a, b, 2)
    wanted = torch.tensor([[plain(x, y, 2) for y in b] for x in a], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-7)


def test_aligned_finds_a_shift_and_does_not_count_silence() -> None:
    sound = torch.zeros(1, 4, 50)
    sound[..., 5:9] = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(1)) + 10
    late = sound.roll(3, -1)
    assert float(aligned_distances(sound, late, 3)) < 1e-6 < 1 < float(aligned_distances(sound, late, 2))
    assert float(aligned_distances(late, sound, 3)) < 1e-6
    # a level 6 dB higher is 6 dB away, however short the sound in its 50 places
    assert float(aligned_distances(sound, sound + 6 * (sound > 0), 0)) == pytest.approx(6, abs=1e-6)
    assert float(aligned_distances(sound * 0, sound * 0, 1)) == 0
    with pytest.raises(ValueError, match="below 0"):
        aligned_distances(-sound, sound, 0)
    with pytest.raises(ValueError, match="one shape"):
        aligned_distances(sound, sound[..., :20], 0)


def test_nearest_aligned_orders_and_leaves_out() -> None:
    base = torch.full((4, 2, 10), 10.0) + torch.tensor([0.0, 1.0, 3.0, 7.0])[:, None, None]
    distance, which = nearest_aligned(base[:2], base, 0, count=3)
    assert which.tolist() == [[0, 1, 2], [1, 0, 2]]
    torch.testing.assert_close(distance, torch.tensor([[0, 1, 3], [0, 1, 2]], dtype=torch.float64), atol=1e-6, rtol=0)
    distance, which = nearest_aligned(base, base, 0, count=9, own=torch.arange(4))
    assert which.shape == (4, 3) and which[:, 0].tolist() == [1, 0, 1, 2]
    assert distance[:, 0].tolist() == pytest.approx([1, 1, 2, 4], abs=1e-6)


def test_correlation_of_known_pairs() -> None:
    draw = torch.Generator().manual_seed(2)
    x = torch.zeros(6, 300)
    x[:, 20:200] = torch.randn(6, 180, generator=draw)
    y = x.clone()
    y[1], y[2], y[3] = -0.01 * x[1], x[2].roll(77), x[3].roll(-20)  # sign and gain, and shifts that lose nothing
    y[4] = torch.randn(300, generator=draw)
    y[5] = 0
    found = correlation(x, y)
    assert found[:4].tolist() == pytest.approx([1, 1, 1, 1], abs=1e-12)
    wanted = np.abs(np.correlate(x[4].double().numpy(), y[4].double().numpy(), "full")).max()
    assert float(found[4]) == pytest.approx(wanted / float(x[4].double().norm() * y[4].double().norm()), abs=1e-12)
    assert float(found[4]) < 0.5 and float(found[5]) == 0


def test_correlation_does_not_wrap_around() -> None:
    # each half of the one is a half of the other, but only one of them can be met by any one shift
    x, y = torch.tensor([[1.0, 0.0, 0.0, 2.0]]), torch.tensor([[2.0, 1.0, 0.0, 0.0]])
    assert float(correlation(x, y)) == pytest.approx(4 / 5)
    assert float(correlation(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]))) == pytest.approx(math.sqrt(0.5))
    noisy = torch.randn(1, 4000, generator=torch.Generator().manual_seed(3))
    other = torch.randn(1, 4000, generator=torch.Generator().manual_seed(4))
    # a signal and as much noise: 1 / sqrt 2
    assert float(correlation(noisy, noisy + other)) == pytest.approx(math.sqrt(0.5), abs=0.03)
    with pytest.raises(ValueError, match="one length"):
        correlation(noisy, noisy[:, :5])


def test_the_nearest_of_many_is_the_nearest() -> None:
    draw = torch.Generator().manual_seed(7)
    b = torch.randn(300, 12, generator=draw)
    a = torch.cat([torch.randn(40, 12, generator=draw), b[:20] + 0.01 * torch.randn(20, 12, generator=draw)])
    for x, own in ((a, None), (b[:50], torch.arange(50))):
        far, which = nearest(x, b, own)
        quick, same = nearest_of_many(x, b, own)
        assert torch.equal(which, same)
        torch.testing.assert_close(quick, far, rtol=1e-6, atol=1e-6)
        # one candidate is enough here, and it is not the example itself
        assert torch.equal(nearest_of_many(x, b, own, candidates=1)[1], which)


def test_the_nearest_aligned_of_many_is_the_nearest() -> None:
    draw = torch.Generator().manual_seed(8)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(80, 1, 16, 46, generator=draw), 5, 1, 2)[:, 0]
    b = (10 * smooth).clamp(min=0)
    a = torch.cat([torch.roll(b[:12], 3, 2), b[40:52] + 0.01])
    a[:12, :, :3] = 0
    far, which = nearest_aligned(a, b, 5)
    quick, same = nearest_aligned_of_many(a, b, 5)
    assert torch.equal(same, which[:, 0]) and same.tolist() == [*range(12), *range(40, 52)]
    torch.testing.assert_close(quick, far[:, 0])
    far, which = nearest_aligned(b[:20], b, 5, own=torch.arange(20))
    quick, same = nearest_aligned_of_many(b[:20], b, 5, own=torch.arange(20), candidates=40)
    assert torch.equal(same, which[:, 0]) and not (same == torch.arange(20)).any()
    torch.testing.assert_close(quick, far[:, 0])
