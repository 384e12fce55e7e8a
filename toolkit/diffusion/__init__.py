"""The core: schedule, denoiser, loss, sampler, guidance, for tensors of any rank and any meaning."""

from toolkit.diffusion.adaptive import Adaptive
from toolkit.diffusion.denoiser import PREDICTIONS, Cond, Denoiser, RegressionDenoiser
from toolkit.diffusion.discrete import CosineChain, DiscreteSchedule, LinearChain, ScaledLinearChain, respace
from toolkit.diffusion.grid import GRIDS
from toolkit.diffusion.guidance import autoguidance, classifier_free, clip, conditional, interval
from toolkit.diffusion.loss import (
    WEIGHTINGS,
    LogitNormal,
    LogNormal,
    MinSNR,
    TimeDistribution,
    Uniform,
    weighted_loss,
)
from toolkit.diffusion.multistep import DEIS, IPNDM, DPMSolver2M, DPMSolver3M, UniPC, UniPC3
from toolkit.diffusion.randomness import NoiseStream, normal, seeded_generator, stratified
from toolkit.diffusion.sampler import (
    DDIM,
    Denoise,
    DPMSolver2S,
    Euler,
    Heun,
    Sampler,
    Step,
    sample,
    trajectory,
)
from toolkit.diffusion.schedule import VE, VP, Cosine, Karras, RectifiedFlow, Schedule, Sigmoid, Sqrt
from toolkit.diffusion.schedule_shift import Shift, ZeroTerminalSNR
from toolkit.diffusion.sde import ERSDE, SASolver, SDEDPMSolver2M, SDEDPMSolver3M
from toolkit.diffusion.stochastic import DDPM, EDMChurn, EulerAncestral, StochasticDDIM
from toolkit.diffusion.top import Topped, without_top
from toolkit.diffusion.variance import PosteriorVariance, VarianceMeter

SCHEDULES: dict[str, type[Schedule]] = {
    "flow": RectifiedFlow,
    "cosine": Cosine,
    "sigmoid": Sigmoid,
    "sqrt": Sqrt,
    "vp": VP,
    "ve": VE,
    "karras": Karras,
    "linear-beta": LinearChain,
    "scaled-linear": ScaledLinearChain,
    "cosine-beta": CosineChain,
}

TIME_DISTRIBUTIONS: dict[str, type[TimeDistribution]] = {
    "uniform": Uniform,
    "logit-normal": LogitNormal,
    "log-normal": LogNormal,
    "adaptive": Adaptive,
}

SAMPLERS: dict[str, type[Sampler]] = {
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpm++2s": DPMSolver2S,
    "dpm++2m": DPMSolver2M,
    "dpm++3m": DPMSolver3M,
    "unipc": UniPC,
    "unipc3": UniPC3,
    "deis": DEIS,
    "ipndm": IPNDM,
    "ddpm": DDPM,
    "ddim-eta": StochasticDDIM,
    "euler-ancestral": EulerAncestral,
    "sde-dpm++2m": SDEDPMSolver2M,
    "sde-dpm++3m": SDEDPMSolver3M,
    "sa-solver": SASolver,
    "er-sde": ERSDE,
    "edm-churn": EDMChurn,
}

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "ERSDE",
    "GRIDS",
    "IPNDM",
    "PREDICTIONS",
    "SAMPLERS",
    "SCHEDULES",
    "TIME_DISTRIBUTIONS",
    "VE",
    "VP",
    "WEIGHTINGS",
    "Adaptive",
    "Cond",
    "Cosine",
    "CosineChain",
    "DPMSolver2M",
    "DPMSolver2S",
    "DPMSolver3M",
    "Denoise",
    "Denoiser",
    "DiscreteSchedule",
    "EDMChurn",
    "Euler",
    "EulerAncestral",
    "Heun",
    "Karras",
    "LinearChain",
    "LogNormal",
    "LogitNormal",
    "MinSNR",
    "NoiseStream",
    "PosteriorVariance",
    "RectifiedFlow",
    "RegressionDenoiser",
    "SASolver",
    "SDEDPMSolver2M",
    "SDEDPMSolver3M",
    "Sampler",
    "ScaledLinearChain",
    "Schedule",
    "Shift",
    "Sigmoid",
    "Sqrt",
    "Step",
    "StochasticDDIM",
    "TimeDistribution",
    "Topped",
    "UniPC",
    "UniPC3",
    "Uniform",
    "VarianceMeter",
    "ZeroTerminalSNR",
    "autoguidance",
    "classifier_free",
    "clip",
    "conditional",
    "interval",
    "normal",
    "respace",
    "sample",
    "seeded_generator",
    "stratified",
    "trajectory",
    "weighted_loss",
    "without_top",
]
