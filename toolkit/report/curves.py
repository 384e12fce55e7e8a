"""Line plots as inline SVG, which takes the page's colours in light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.report.html import Markup, tag

WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 10, 30
"""Margins, in the units of WIDTH and HEIGHT."""
MOST_POINTS = 400
"""Columns that a line is thinned to; each keeps its lowest and its highest value."""
LOGARITHMIC = 20
"""Values that span this factor are drawn on a logarithmic axis."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Values over steps; None where there was no finite one."""

    title: str
    steps: Sequence[int]
    values: Sequence[float | None]
    smooth: bool = False
    """Draw a running mean, and the values themselves faintly behind it."""
    logarithmic: bool = False
    """Allow a logarithmic axis."""
    note: str = ""
    beside: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Further lines over the same steps, by name, drawn thin; one called floor is dashed."""


def smooth(values: Sequence[float], share: float = 0.06) -> list[float]:
    """The mean of the values around each, over `share` of all; windows shrink at the ends, so it does not lag."""
    half = max(1, round(len(values) * share / 2))
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    means = []
    for i in range(len(values)):
        reach = min(half, i, len(values) - 1 - i)
        means.append((sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1))
    return means


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in [low, high], 1, 2 or 5 times a power of ten apart, at most `about` + 1 of them."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in [low, high]; with their multiples 2 and 5 where there would be fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks[:: 1 + len(ticks) // 8]
    return ticks


def draw(curve: Curve) -> Markup | None:
    """A figure with its caption, or None when there is nothing to draw."""
    points = [(float(s), v) for s, v in zip(curve.steps, curve.values, strict=True) if v is not None]
    if not points:
        return None
    values = [value for _, value in points]
    beside = {
        name: [(float(s), v) for s, v in zip(curve.steps, row, strict=True) if v is not None]
        for name, row in curve.beside.items()
    }
    all_values = [*values, *(value for line in beside.values() for _, value in line)]
    low, high = min(all_values), max(all_values)
    # the first steps may be far above all others; what decides is where most values are
    log = curve.logarithmic and low > 0 and high / low > LOGARITHMIC
    if not log:
        low = min(0.0, low)
        high = high + 0.05 * (high - low) if high > low else low + 1
    first, last = points[0][0], points[-1][0]

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((step - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts: list[Markup] = []
    for value in log_ticks(low, high) if log else ticks(low, high):
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y(value):.1f}", y2=f"{y(value):.1f}", class_="rule"))
        parts.append(tag("text", label(value), x=LEFT - 6, y=f"{y(value) + 4:.1f}", text_anchor="end"))
    parts.extend(
        tag("text", f"{step:,.0f}", x=f"{x(step):.1f}", y=HEIGHT - BOTTOM + 18, text_anchor="middle")
        for step in ticks(first, last, 4)
    )
    lines = [("raw" if curve.smooth and len(values) > 4 else "main", points)]
    if lines[0][0] == "raw":
        lines.append(("main", list(zip((step for step, _ in points), smooth(values), strict=True))))
    for name, line in beside.items():
        at = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in thin_out(line))
        parts.append(tag("polyline", points=at, class_="raw", stroke_dasharray="5 4" if name == "floor" else None))
    for kind, line in lines:
        at = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in thin_out(line))
        parts.append(tag("polyline", points=at, class_=kind))
    if len(points) == 1:
        parts.append(tag("circle", cx=f"{x(first):.1f}", cy=f"{y(values[0]):.1f}", r=4, class_="dot"))
    description = (
        f"{curve.title}: {label(values[0])} at step {first:,.0f}, {label(values[-1])} at step {last:,.0f}, "
        f"between {label(min(values))} and {label(max(values))}"
    )
    ends = [f"{name} {label(line[-1][1])}" for name, line in beside.items() if line]
    description += "".join(f"; {end}" for end in ends)
    svg = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=description)
    missing = len(curve.values) - len(points)
    notes = [f"last {label(values[-1])}", *ends, curve.note, "logarithmic" if log else ""]
    notes.append(f"{missing} of {len(curve.values)} not finite" if missing else "")
    caption = tag("figcaption", tag("b", curve.title), " ", "; ".join(note for note in notes if note))
    return tag("figure", caption, svg, class_="plot")


def thin_out(points: Sequence[Point]) -> list[Point]:
    """At most two points for each of MOST_POINTS columns: the lowest and the highest, in their order."""
    if len(points) <= 2 * MOST_POINTS:
        return list(points)
    kept: list[Point] = []
    for i in range(MOST_POINTS):
        part = points[i * len(points) // MOST_POINTS : (i + 1) * len(points) // MOST_POINTS]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def label(value: float) -> str:
    """0.0005 as 5e-4, 1500 as 1,500."""
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
