"""The mean difference of two measurements of the same examples, and what it can be told from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

Z95 = 1.959963984540054
"""97.5 % point of the normal distribution."""
Z80 = 0.8416212335729143
"""80 % point: a difference is to be seen by four samples of five."""


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences b - a, with its standard error over n independent examples."""

    mean: float
    error: float
    """Standard error of `mean`; nan for one example."""
    n: int
    scale: float
    """Mean of a, for percentages."""

    @classmethod
    def between(cls, a: Tensor, b: Tensor) -> Difference:
        """Return the difference b - a, each (n,), one number for each example. Raises ValueError."""
        if a.ndim != 1 or a.shape != b.shape or not len(a):
            raise ValueError(f"two (n,) of the same examples expected, got {tuple(a.shape)} and {tuple(b.shape)}")
        difference = b.double() - a.double()
        error = float(difference.std()) / math.sqrt(len(a)) if len(a) > 1 else math.nan
        return cls(float(difference.mean()), error, len(a), float(a.double().mean()))

    @property
    def reach(self) -> float:
        """Half the 95 % interval, by Student's t; infinite where nothing is known of the error."""
        return student(self.n - 1) * self.error if self.n > 1 and math.isfinite(self.error) else math.inf

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.mean - self.reach

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.mean + self.reach

    @property
    def significant(self) -> bool:
        """True where the 95 % interval leaves out 0."""
        return self.low > 0 or self.high < 0

    @property
    def share(self) -> float:
        """`mean` over the mean of a."""
        return self.mean / self.scale if self.scale else math.nan

    @property
    def share_reach(self) -> float:
        """`reach` over the mean of a."""
        return self.reach / abs(self.scale) if self.scale else math.inf

    def examples_needed(self) -> int | None:
        """Examples that would show a difference of this size in four samples of five; None when it is exactly 0."""
        if self.mean == 0 or not math.isfinite(self.error):
            return None
        return max(2, math.ceil(self.n * ((Z95 + Z80) * self.error / self.mean) ** 2))


def student(freedom: int) -> float:
    """97.5 % point of Student's t with so many degrees of freedom, at least 1.

    By its expansion about the normal's (Abramowitz and Stegun 1964, eq. 26.7.5), which is 0.03 % too low at 4 and less
    from there on; below 4 from the table.
    """
    if freedom < 4:
        return (12.7062, 4.3027, 3.1824)[max(1, freedom) - 1]
    z, v = Z95, float(freedom)
    terms = (
        (z**3 + z) / (4 * v),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3),
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4),
    )
    return z + sum(terms)
