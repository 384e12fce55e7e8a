"""The length that sounds are to have, and what the network is told."""

from __future__ import annotations

import pytest
import torch

from modalities.audio import conditioning, mel
from toolkit.errors import UsageError


@pytest.mark.parametrize("trained", [8192, 16128, 768])
def test_lengths_are_rounded_to_a_few_sizes_that_hold_them(trained: int) -> None:
    sizes = {conditioning.array_length(n, trained) for n in range(1, trained + 1, 7)}
    assert len(sizes) <= conditioning.PARTS and max(sizes) == trained
    assert all(size % conditioning.GRAIN == 0 for size in sizes)
    assert all(
        n <= conditioning.array_length(n, trained) <= max(conditioning.GRAIN, n + trained // 8 + 512)
        for n in (1, 300, trained)
    )
    assert conditioning.array_length(trained + 1, trained) == trained + conditioning.GRAIN


def test_mask_and_share() -> None:
    found = conditioning.conditions(torch.tensor([2, 4, 9]), frames=4, trained=4)
    assert found["mask"].tolist() == [[[1, 1, 0, 0]], [[1, 1, 1, 1]], [[1, 1, 1, 1]]]
    assert found["seconds"].tolist() == [0.5, 1, 1]


def test_drawn_durations_follow_those_of_the_label() -> None:
    draw = torch.Generator().manual_seed(0)
    seconds = torch.cat([0.1 + 0.1 * torch.rand(500, generator=draw), 0.6 + 0.3 * torch.rand(500, generator=draw)])
    labels = torch.arange(1000) // 500
    table = conditioning.quantiles(seconds, labels, 2)
    assert len(table) == 3 * conditioning.QUANTILES
    asked = torch.tensor([0, 1, 2]).repeat(400)  # 2: no label
    drawn = conditioning.draw(table, asked, 0, range(1200))
    for label in (0, 1):
        real = seconds[labels == label].double()
        mine = drawn[asked == label]
        assert float(real.min()) <= float(mine.min()) and float(mine.max()) <= float(real.max())
        assert float((mine.quantile(0.5) - real.quantile(0.5)).abs()) < 0.02
    anything = drawn[asked == 2]
    assert 0.3 < float((anything < 0.3).double().mean()) < 0.7
    # a function of (seed, position), and without labels of all durations
    assert torch.equal(drawn[5:9], conditioning.draw(table, asked[5:9], 0, range(5, 9)))
    assert not torch.equal(drawn[5:9], conditioning.draw(table, asked[5:9], 1, range(5, 9)))
    assert torch.equal(
        conditioning.draw(table, None, 0, range(9)), conditioning.draw(table, torch.full((9,), 2), 0, range(9))
    )


def test_requests_have_one_size_each_and_cover_everything() -> None:
    length = torch.tensor([100, 8000, 300, 8192, 20_000])
    found = conditioning.by_length(length, 1, 8192, "windows")
    assert sorted(i for request in found for i in request.which) == list(range(5))
    for request in found:
        assert request.shape[1] >= int(length[list(request.which)].max())
        assert request.cond["mask"].sum((1, 2)).tolist() == length[list(request.which)].tolist()
        assert (request.window is not None) == (request.shape[1] > 8192)
    whole = conditioning.by_length(length, 1, 8192, "whole")
    assert all(request.window is None for request in whole)
    with pytest.raises(UsageError, match="fewer --seconds"):
        conditioning.by_length(torch.tensor([1 << 27]), 1, 8192, "whole")


def test_a_sound_to_be_made_again_keeps_its_length_and_its_spectrogram() -> None:
    spec = mel.default(8000, 20)
    raw = torch.randn(1, 10_000) * 0.1
    request = conditioning.of_sound(raw, spec, (1, 8192), 2, "windows")
    assert request.which == (0, 1) and request.window == 8192 and request.shape[1] >= 3 * 8192 // 2
    assert request.cond["mask"].sum((1, 2)).tolist() == [10_000, 10_000]
    padded = torch.zeros(1, 1, request.shape[1])
    padded[0, :, :10_000] = raw
    assert torch.equal(request.cond["mel"][1], mel.normalise(mel.log_mel(padded, spec))[0])
