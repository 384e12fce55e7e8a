"""Axes and lines against closed forms."""

from __future__ import annotations

import math
import re

import pytest

from toolkit.report.curves import BOTTOM, HEIGHT, TOP, Curve, draw, label, log_ticks, smooth, thin_out, ticks


def heights(figure: str, kind: str) -> list[float]:
    """Return the heights of a line's points, as shares of the axis from its bottom."""
    (points,) = re.findall(rf'<polyline points="([^"]*)" class="{kind}"', figure)
    return [(HEIGHT - BOTTOM - float(p.split(",")[1])) / (HEIGHT - TOP - BOTTOM) for p in points.split()]


def test_smoothing_keeps_straight_lines_and_does_not_lag() -> None:
    line = [3 + 0.5 * i for i in range(100)]
    assert smooth(line) == pytest.approx(line)
    peak = [0.0] * 50 + [1.0] + [0.0] * 50
    mean = smooth(peak)
    assert sum(mean) == pytest.approx(1) and mean == mean[::-1] and max(mean) < 0.5
    assert smooth([2.0]) == [2.0]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(10, 3210, 4) == [1000, 2000, 3000]
    assert ticks(-0.3, 0.3) == pytest.approx([-0.2, 0, 0.2])
    assert ticks(5, 5) == [5]
    assert log_ticks(0.05, 500) == pytest.approx([0.1, 1, 10, 100])
    assert log_ticks(1, 21) == pytest.approx([1, 2, 5, 10, 20])


def test_a_logarithmic_axis_puts_the_geometric_mean_in_the_middle() -> None:
    figure = draw(Curve("loss", [1, 2, 3], [100.0, 10.0, 1.0], logarithmic=True))
    assert figure is not None and "logarithmic" in figure
    assert heights(figure, "main") == pytest.approx([1, 0.5, 0], abs=1e-3)
    linear = draw(Curve("loss", [1, 2, 3], [4.0, 2.0, 1.0], logarithmic=True))
    assert linear is not None and "logarithmic" not in linear
    bottom = heights(linear, "main")
    assert bottom[0] / bottom[1] == pytest.approx(2, abs=0.02)  # from zero


def test_lines_beside_share_the_axis_and_are_named() -> None:
    curve = Curve("Held-out", [1, 2], [2.0, 1.0], beside={"floor": [0.5, 0.5], "training": [None, 4.0]})
    figure = draw(curve)
    assert figure is not None and figure.count('class="raw"') == 2 and figure.count("stroke-dasharray") == 1
    low, high = heights(figure, "main"), 4.0 * 1.05
    assert low == pytest.approx([2 / high, 1 / high], abs=0.01)  # up to the highest of all lines
    assert "floor 0.5; training 4" in figure and 'aria-label="Held-out: 2 at step 1, 1 at step 2' in figure


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    figure = draw(Curve("loss", [1, 2, 3], [1.0, None, 3.0]))
    assert figure is not None and "1 of 3 not finite" in figure and len(heights(figure, "main")) == 2
    assert draw(Curve("loss", [1, 2], [None, None])) is None
    single = draw(Curve("loss", [7], [0.0]))
    assert single is not None and "<circle" in single


def test_thinning_keeps_the_extremes() -> None:
    points = [(float(i), math.sin(i)) for i in range(10_000)] + [(10_000.0, 50.0)]
    thin = thin_out(points)
    assert len(thin) <= 800 and (10_000.0, 50.0) in thin and thin == sorted(thin)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (5e-5, "5e-5"), (0.00015, "1.5e-4"), (0.25, "0.25"), (1500, "1,500")]
)
def test_labels(value: float, text: str) -> None:
    assert label(value) == text
