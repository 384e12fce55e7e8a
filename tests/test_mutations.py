"""The table of mistakes for tests/mutation.py is one of places that exist, and of tests that exist."""

from __future__ import annotations

from tests.mutation import ROOT, mutations


def test_every_place_is_there_once_and_has_tests() -> None:
    found = list(mutations())
    assert len(found) >= 100
    for mutation in found:
        assert mutation.old != mutation.new and mutation.tests
        assert all((ROOT / test).is_file() for test in mutation.tests), mutation
