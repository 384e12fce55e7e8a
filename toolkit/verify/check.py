"""Rows of the table that `toolkit verify` prints. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A measured number beside its exact value."""

    name: str
    measured: str | float
    expected: str | float
    ok: bool
    note: str = ""

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "FAIL"
        return f"{mark} {self.name}: {_text(self.measured)} (expected {_text(self.expected)}) {self.note}".rstrip()


def close(name: str, measured: float, expected: float, tolerance: float, note: str = "") -> Check:
    """Check that |measured - expected| <= tolerance; a nan fails."""
    return Check(name, measured, expected, abs(measured - expected) <= tolerance, note)


def below(name: str, error: float, bound: float, note: str = "") -> Check:
    """Check that an error is at most `bound`; a nan fails."""
    return Check(name, error, f"<= {bound:g}", error <= bound, note)


def true(name: str, fact: bool, note: str = "") -> Check:
    """Check a fact that has no number."""
    return Check(name, "yes" if fact else "no", "yes", fact, note)


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
