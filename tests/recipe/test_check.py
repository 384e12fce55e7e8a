"""`recipe.check.instantiate`: a name and options against a table of classes and functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from toolkit.errors import UsageError
from toolkit.recipe.check import instantiate


@dataclass(frozen=True)
class Ramp:
    steps: int = 10
    ends: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"at least one step is needed, got {self.steps}")


class Plain:
    pass


def grid(schedule: object, n: int, rho: float = 7.0) -> tuple[object, int, float]:
    return schedule, n, rho


TABLE: dict[str, Any] = {"ramp": Ramp, "plain": Plain, "grid": grid}


def test_a_class_is_made_and_a_function_is_bound() -> None:
    assert instantiate(TABLE, "ramp", "thing") == Ramp()
    assert instantiate(TABLE, {"name": "ramp", "steps": 3, "ends": [0, 2]}, "thing") == Ramp(3, (0.0, 2.0))
    assert isinstance(instantiate(TABLE, "plain", "thing"), Plain)
    assert instantiate(TABLE, {"name": "grid", "rho": 3}, "thing")("s", 5) == ("s", 5, 3.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rampp", "unknown thing 'rampp'; did you mean 'ramp'?"),
        ({"steps": 3}, "unknown thing 'None'; known: ramp, plain, grid"),
        ({"name": "ramp", "step": 3}, "thing 'ramp': unknown option 'step'; did you mean 'steps'?"),
        ({"name": "ramp", "steps": 0}, "thing 'ramp': at least one step is needed, got 0"),
        ({"name": "ramp", "steps": "many"}, "thing 'ramp': steps: input should be a valid integer"),
        ({"name": "ramp", "ends": [1]}, "thing 'ramp': ends: "),
        ({"name": "plain", "x": 1}, "thing 'plain': unknown option 'x'; there is none here"),
        ({"name": "grid", "n": 3}, "thing 'grid': unknown option 'n'; known: rho"),
    ],
)
def test_a_wrong_spec_is_one_line(spec: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        instantiate(TABLE, spec, "thing")
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
