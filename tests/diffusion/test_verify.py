"""Every check of `toolkit verify`, one test for each function; and that the checks can fail."""

from __future__ import annotations

import subprocess
import sys

import pytest

from toolkit.diffusion import SAMPLERS
from toolkit.errors import UsageError
from toolkit.verify import GROUPS, Check, _may_be_named, checks, run_checks
from toolkit.verify.check import below, close, true


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in checks(group)])
def test_check(group: str, name: str) -> None:
    rows = list(checks(group)[name]())
    assert rows
    wrong = [str(row) for row in rows if not row.ok]
    assert not wrong, "\n".join(wrong)
    assert [row.name for row in rows if not _may_be_named(row.name.lower())] == []


def test_every_sampler_has_its_order_measured() -> None:
    measured = {name.split(" ", 1)[1].split(",")[0] for name in checks("orders")}
    assert set(SAMPLERS) <= measured


def test_a_wrong_number_is_not_ok() -> None:
    assert not close("x", 1.1, 1.0, 0.05).ok and close("x", 1.04, 1.0, 0.05).ok
    assert not below("x", 2.0, 1.0).ok and not below("x", float("nan"), 1.0).ok
    assert not close("x", float("nan"), 1.0, 1.0).ok
    assert not true("x", False).ok


def test_only() -> None:
    assert {row.name.split()[0] for row in run_checks("A3")} == {"A3"}
    assert {row.name.split()[0] for row in run_checks("guidance")} == {"E1", "E2", "E3", "E4"}
    assert all("vp" in row.name for row in run_checks("D3 vp"))
    assert {row.name.split()[0] for row in run_checks("D5 Markov")} == {"D5"}


@pytest.mark.parametrize("unknown", ["Z9", "nosuch", "A1 nosuch", "unipcc"])
def test_what_is_no_check_is_refused_before_any_is_run(unknown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("toolkit.verify.checks", lambda group: {"A1 x": lambda: ran.append(group) or []})
    with pytest.raises(UsageError, match=f"no check is called '{unknown}'"):
        run_checks(unknown)
    assert ran == []


def test_a_wrong_declaration_is_caught() -> None:
    from toolkit.diffusion import Heun
    from toolkit.verify.checks_orders import deterministic

    assert not all(row.ok for row in deterministic("heun", Heun(), 3))


def test_check_loads_no_torch() -> None:
    code = "import sys, toolkit.verify; assert 'torch' not in sys.modules; print(toolkit.verify.Check.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == Check.__name__, done.stderr
