"""The sections of a recipe, but for [data] and [model], which belong to the modality, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, Strict, model_validator

from toolkit.recipe.expected import Expected, Smoke, StrictOptions
from toolkit.recipe.objects import Named, Nameless, among

MAX_WIDTH = 0.28
"""A power-function average is at most this wide: sqrt(1/12) when it weighs all of training alike."""

MAX_STEPS = 100_000
"""Steps of one sampling, those of restarts included: a recipe may be a stranger's, and must come to an end."""

MEASURED = ("expected", "smoke")
"""Sections that touch no run."""

Pair = Annotated[tuple[float, float], Strict(False)]
"""Two numbers; a list in TOML."""


class Diffusion(StrictOptions):
    """The noise, the prediction, and how it is trained."""

    schedule: Named = "flow"
    prediction: Literal["eps", "x0", "v", "flow", "edm"] = "flow"
    shift: float = Field(default=1.0, gt=0)
    """Factor on sigma/alpha; above 1 spends more of [0, 1] on the noisy end."""
    zero_terminal_snr: bool = False
    time: Named = "logit-normal"
    top: float = Field(default=0.05, ge=0, lt=1)
    """Share of the times that is log-uniform from sigma = alpha to the highest level that the data asks for."""
    stratified: bool = True
    """Low-discrepancy times over the batch."""
    weighting: Named = "none"
    label_drop: float = Field(default=0.1, ge=0, le=1)
    """Probability with which a label is hidden, which is what guidance needs."""
    denoiser: Nameless = None
    """From Python, in place of the modality's own: a `Denoiser`, or a function (network, schedule) -> `Denoiser`."""
    loss: Nameless = None
    """From Python, in place of the denoiser's own: (denoiser, x, t, eps, cond) -> (B,)."""


class Train(StrictOptions):
    """Length, optimiser and checkpoints of a training."""

    seed: int = Field(default=0, ge=0, lt=1 << 63)
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch: int = Field(default=128, ge=1, le=1 << 24)
    """Examples of each optimiser step."""
    accumulate: int = Field(default=1, ge=1, le=1 << 24)
    """Parts that a batch is computed in, when it does not fit into memory at once."""
    lr: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=200, ge=0)
    """Steps of linear warm-up."""
    decay: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.01, ge=0)
    betas: Pair = (0.9, 0.99)
    """Decay of AdamW's two moments."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: matrices and kernels move by orthogonal updates, the rest by AdamW, at one learning rate."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    ema: Pair = (0.05, 0.10)
    """Two averages of the weights; width relative to the length of training."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    layout: Literal["auto", "channels-first", "channels-last"] = "auto"
    """Memory layout of pictures; auto measures which is faster here, and the run keeps that."""
    threads: int | None = Field(default=None, ge=1, le=4096)
    """Processor threads; None measures whether fewer are faster here, and the run keeps that."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """0: labels come as often as the data has them; 1: all equally often; between: n ** (1 - balance).
    Data without labels is taken as it is."""
    compile: bool = False
    previews: int = Field(default=5, ge=0, le=100_000)
    """Pictures over the whole run."""
    checkpoint_minutes: float = Field(default=2.0, gt=0)
    keep: int = Field(default=2, ge=1, le=1_000_000)
    """Checkpoints."""

    @model_validator(mode="after")
    def _in_range(self) -> Train:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), not {list(self.betas)}")
        if not all(0 < width < MAX_WIDTH for width in self.ema):
            raise ValueError(f"ema must be two widths in (0, {MAX_WIDTH}), not {list(self.ema)}")
        return self


class Sample(StrictOptions):
    """Sampling of `toolkit sample` and of the previews, unless options say otherwise."""

    sampler: Named = "dpm++3m"
    grid: Named = "log-snr"
    steps: int = Field(default=20, ge=1)
    restarts: int = Field(default=0, ge=0)
    """Number of times that the sample gets noise again and its last steps are repeated."""
    back: int = Field(default=4, ge=1)
    """Steps back of a restart, at most all of them."""
    guidance: float = Field(default=1.0, ge=0)
    """1 = the conditional model itself."""
    interval: Annotated[tuple[float, float] | None, Strict(False)] = None
    """Log-SNR between which guidance acts; None = everywhere."""
    rescale: float = Field(default=0.0, ge=0, le=1)
    clip: bool = True
    """Clamp each estimate of the data to the bounds of the data, when it has any."""
    ema: float | None = None
    """One width of train.ema; None = the last, 0 = the weights themselves."""

    @model_validator(mode="after")
    def _ends(self) -> Sample:
        total = self.total_steps()
        if total > MAX_STEPS:
            raise ValueError(f"steps and restarts come to {total:,} steps; at most {MAX_STEPS:,} are taken")
        return self

    def total_steps(self, steps: int | None = None, restarts: int | None = None) -> int:
        """Steps in all, those of restarts included; None: as this section says."""
        first = steps or self.steps
        return first + (self.restarts if restarts is None else restarts) * min(self.back, first)


class Recipe(StrictOptions):
    """All that a run depends on."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    description: str = ""
    modality: str = Field(min_length=1)
    data: dict[str, Any] = {}
    model: dict[str, Any] = {}
    diffusion: Diffusion = Diffusion()
    train: Train = Train()
    sample: Sample = Sample()
    network: Nameless = None
    """From Python, in place of the modality's own: a `torch.nn.Module`, or a function (modality) -> one."""
    expected: Expected = Expected()
    """Figures that were measured: what `toolkit reproduce` compares with."""
    smoke: Smoke = Smoke()
    """Figures of a short run, of about a minute."""
    _file: str | None = PrivateAttr(default=None)
    """The file that named the modality where that is code, and nobody else has: toolkit/recipe/trust.py."""

    def __eq__(self, other: object) -> bool:
        """Return True where all sections are equal; the file they came from is no part of a recipe."""
        return isinstance(other, Recipe) and dict(self) == dict(other)

    @model_validator(mode="before")
    @classmethod
    def _measured_with_names(cls, given: Any) -> Any:
        """Drop the expected figures where an object stands in place of a name: the model or the sampling is another."""
        if not isinstance(given, Mapping) or not among(given):
            return given
        return {name: value for name, value in given.items() if name not in MEASURED}

    @model_validator(mode="after")
    def _ema_exists(self) -> Recipe:
        if self.sample.ema and self.sample.ema not in self.train.ema:
            raise ValueError(f"sample.ema = {self.sample.ema} is not one of train.ema = {list(self.train.ema)}")
        return self
