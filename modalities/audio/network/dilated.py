"""UNet over waveforms in time alone: dilated convolutions along the bands of a learned transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from modalities.audio.network.bands import Bands
from modalities.audio.network.cells import gather, scatter
from modalities.audio.network.position import Position
from modalities.audio.network.power import features, gain
from toolkit.nn.blocks import Conv, norm, zero
from toolkit.nn.conditioned import Conditioned
from toolkit.nn.unet import Trunk


class DilatedUNet(Conditioned):
    """(x (B, C, L), c_noise (B,), cond) -> (B, C, L): a UNet in one dimension, for `edm` prediction.

    A learned strided analysis divides x into bands (`Bands`), and its inverse makes sound of them again. Between the
    two, one UNet runs over each group of neighbouring bands, with the same weights for all groups: its convolutions are
    dilated ones in time, and nothing is convolved over frequency. A group is told which one it is, and attention at the
    coarsest level is over all places of all groups; only there they know of each other.

    As in `WaveUNet`, the network is given each band with its phase and power relative to the noise, predicts powers,
    which determine a Wiener filter of the bands, and adds a term that no such filter gives.

    hop, overlap    see `Bands`
    patch           frames and bands that are the channels of one place of the finest level
    dilations       of the convolutions of a level's blocks, in rotation
    cond: label (B,) int64 when labels > 0; each of `numbers`, (B,) in [0, 1]. The rest: see `Trunk`.
    L is a multiple of hop. Frames are padded with silence to whole patches and strides, and the padding is dropped.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: int | Sequence[int] = 1,
        hop: int = 128,
        overlap: int = 2,
        patch: tuple[int, int] = (4, 4),
        dilations: Sequence[int] = (1, 2, 4, 8),
        attention: Sequence[int] = (-1,),
        labels: int = 0,
        embedding: int | None = None,
        dropout: float = 0.0,
        numbers: Sequence[str] = (),
        norm: Callable[[int], nn.Module] = norm,
        learned: bool = True,
    ) -> None:
        embedding = embedding or 2 * max(widths)
        super().__init__(embedding, labels, divisor=hop, numbers=numbers)
        self.bands = Bands(hop, overlap, learned)
        self.patch = patch
        self.whole = patch[0] * math.prod(strides)
        parts = channels * math.prod(patch)
        steps = [hop * patch[0] * math.prod(strides[:i]) for i in range(len(widths))]
        self.stem = Conv(2, 5 * parts, widths[0], 1)
        self.position = Position(widths, steps, [hop * overlap // 2 // patch[1]] * len(widths))
        self.trunk = Trunk("first", widths, embedding, blocks, strides, attention, dilations, 3, dropout, norm, grow=1)
        self.norm = norm(widths[0])
        self.head = zero(Conv("first", widths[0], 4 * parts, 3))
        counts = [blocks] * len(widths) if isinstance(blocks, int) else blocks
        self.receptive_field = _field(hop, overlap, steps, strides, counts, dilations)
        self.global_attention = bool(attention)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        self.check(x)
        bands = self.bands(x)
        frames = bands.shape[2]
        bands = functional.pad(bands, (0, 0, 0, -frames % self.whole))
        h = self.stem(gather(features(bands, c_noise), self.patch))
        local = self.position(bands.shape[2] * self.bands.hop, h)
        h = self.trunk(h, self.embed(c_noise, cond), local, cond.get("dropout"))
        h = self.head(functional.silu(self.norm(h)))
        # float32 under autocast too: in loud bands the result is a small difference
        power, new = scatter(h.float(), self.patch).chunk(2, dim=1)
        return self.bands.inverse((gain(power, c_noise) * bands + new)[:, :, :frames]).to(x)


def _field(
    hop: int,
    overlap: int,
    steps: Sequence[int],
    strides: Sequence[int],
    blocks: Sequence[int],
    dilations: Sequence[int],
) -> int:
    """Return the samples of x that one output sample depends on through convolutions: 1 + sum of (kernel - 1) * step.

    Strides and patches round it, by less than a place of the coarsest level at each end.
    """
    field = 1 + 2 * (overlap * hop - 1) + 2 * steps[0]  # the frames of analysis and synthesis, and the head
    for i, (count, step) in enumerate(zip(blocks, steps, strict=True)):
        rates = [dilations[j % len(dilations)] for j in range(2 * count)]
        field += 2 * 2 * sum(rates) * step  # down and up, kernels of 3
        if i < len(strides):
            field += (2 * strides[i] - 1) * step  # to the next level; on the way back a place sees itself
    return field + 2 * 2 * steps[-1]  # middle
