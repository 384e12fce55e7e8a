"""Building blocks for any number of dimensions, and the networks made of them."""

from toolkit.nn.blocks import Attention, Conv, Downsample, ResBlock, Upsample, zero
from toolkit.nn.conditioned import Conditioned
from toolkit.nn.ddpm import DDPMUNet
from toolkit.nn.embedding import FourierEmbedding, LabelEmbedding, NoiseEmbedding
from toolkit.nn.unet import UNet

__all__ = [
    "Attention",
    "Conditioned",
    "Conv",
    "DDPMUNet",
    "Downsample",
    "FourierEmbedding",
    "LabelEmbedding",
    "NoiseEmbedding",
    "ResBlock",
    "UNet",
    "Upsample",
    "zero",
]
