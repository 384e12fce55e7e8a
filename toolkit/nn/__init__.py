"""Building blocks for any number of dimensions, and networks made of them."""

from toolkit.nn.blocks import Attention, ChannelNorm, Conv, Downsample, ResBlock, Upsample, zero
from toolkit.nn.conditioned import Conditioned
from toolkit.nn.embedding import FourierEmbedding, LabelEmbedding, NoiseEmbedding
from toolkit.nn.mlp import MLP
from toolkit.nn.transformer import Stack, Transformer
from toolkit.nn.unet import Trunk, UNet

__all__ = [
    "MLP",
    "Attention",
    "ChannelNorm",
    "Conditioned",
    "Conv",
    "Downsample",
    "FourierEmbedding",
    "LabelEmbedding",
    "NoiseEmbedding",
    "ResBlock",
    "Stack",
    "Transformer",
    "Trunk",
    "UNet",
    "Upsample",
    "zero",
]
