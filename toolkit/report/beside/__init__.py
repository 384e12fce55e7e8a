"""Samples of one or two runs and real examples side by side, with blind tests: one page, which fetches nothing."""

from toolkit.report.beside.page import page
from toolkit.report.beside.rows import REAL, Row, Side, rows_of

__all__ = ["REAL", "Row", "Side", "page", "rows_of"]
