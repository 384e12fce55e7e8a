"""Measured metrics of a recipe, and how far another measurement may be from them: [expected] and [smoke]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, Strict, field_validator, model_validator

from toolkit.recipe.options import Options

CHANGEABLE = ("data", "model", "diffusion", "train", "sample")
"""Sections that a smoke may change; code and figures are not among them."""


class StrictOptions(Options):
    """Strict options: no coercion between types, no NaN."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class ExpectedMetric(StrictOptions):
    """A figure that was measured, and what a reproduction may measure: `within` on both sides, or one-sided ends."""

    value: float
    within: float | None = Field(default=None, gt=0)
    at_least: float | None = None
    at_most: float | None = None
    interval: Annotated[tuple[float, float] | None, Strict(False)] = None
    """The 95 % interval of `value`."""
    judge: str = ""
    """Data set and hash, e.g. "digits-3f2a1c"; a value under another judge is not compared."""
    unit: str = ""
    """As in metrics.json: "share" is 0 to 1 and shown as a percentage."""
    beside: str = ""
    """A value to compare with, and whose it is: "99.1 % of real digits", "2.67 by 5-grams". It is not compared."""

    @model_validator(mode="after")
    def _is_a_band(self) -> ExpectedMetric:
        one_sided = self.at_least is not None or self.at_most is not None
        if one_sided == (self.within is not None):
            raise ValueError("say either within, or at_least and at_most or one of them")
        low, high = self.ends
        if not low <= self.value <= high:
            raise ValueError(f"the measured value {self.value:g} is itself outside {self.text}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest that passes; infinite where it is open."""
        if self.within is not None:
            return self.value - self.within, self.value + self.within
        low, high = self.at_least, self.at_most
        return float("-inf") if low is None else low, float("inf") if high is None else high

    @property
    def text(self) -> str:
        """The band as a person reads it: "0.99 +- 0.02", "at least 0.95", "0.2 to 0.4"; shares in percent."""
        if self.within is not None:
            return f"{self.text_of(self.value)} +- {self.text_of(self.within)}"
        low, high = (None if end is None else self.text_of(end) for end in (self.at_least, self.at_most))
        if low is not None and high is not None:
            return f"{low} to {high}"
        return f"at least {low}" if low is not None else f"at most {high}"

    def text_of(self, value: float) -> str:
        """A value of this figure as a person reads it."""
        return f"{100 * value:.4g} %" if self.unit == "share" else f"{value:.4g} {self.unit}".rstrip()

    def holds(self, value: float) -> bool:
        """Return True where `value` passes; NaN does not."""
        low, high = self.ends
        return low <= value <= high


class Settings(StrictOptions):
    """Sampling of an evaluation, where it differs from the [sample] section."""

    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    sampler: str | None = None
    ema: float | None = None
    ask: dict[str, Any] = {}
    """Options of the modality's samples, e.g. seconds = 1."""


class _Figures(StrictOptions):
    n: int = Field(default=1_000, ge=1)
    """Samples that are judged."""
    seed: int = Field(default=0, ge=0)
    """Seed of the samples."""
    sample: Settings = Settings()
    figures: dict[str, ExpectedMetric] = {}
    """Figures by their `what` in metrics.json."""


class Expected(_Figures):
    """[expected]: what the whole recipe came to, and where. Empty when nothing was measured yet."""

    machine: str = ""
    date: str = Field(default="", pattern=r"^(\d{4}-\d\d-\d\d)?$")
    """Year, month, day."""
    toolkit: str = ""
    """Version."""
    steps: int | None = Field(default=None, ge=1)
    """Steps of the measured run, which a reproduction takes too, however long that is on another machine."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes that the measured run took, from start to end."""

    @model_validator(mode="after")
    def _is_whole(self) -> Expected:
        missing = [key for key in ("machine", "date", "toolkit") if self.figures and not getattr(self, key)]
        if missing:
            raise ValueError(f"figures without {' and '.join(missing)} cannot be compared with")
        return self


class Smoke(_Figures):
    """[smoke]: the same path in about a minute: what is smaller, and what that comes to. Empty: there is none."""

    n: int = Field(default=16, ge=1)
    changes: dict[str, Any] = {}
    """Values at dotted keys of the recipe, as in --set."""

    @field_validator("changes")
    @classmethod
    def _flat(cls, changes: dict[str, Any]) -> dict[str, Any]:
        # TOML reads model.preset = "tiny" without quotes around the key as a table in a table
        flat = dict(leaves(changes))
        for key in flat:
            if key.partition(".")[0] not in CHANGEABLE or "." not in key:
                raise ValueError(f"'{key}' cannot be changed; what can is in {', '.join(CHANGEABLE)}")
        return flat


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested tables."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
