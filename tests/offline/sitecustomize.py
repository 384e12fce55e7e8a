"""Loaded by every Python that a test starts, since tests/conftest.py puts this folder on its path."""

import network_guard  # noqa: F401
