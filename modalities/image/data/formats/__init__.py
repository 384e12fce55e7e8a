"""Formats of files: how each becomes values, large pictures in bands of rows."""
