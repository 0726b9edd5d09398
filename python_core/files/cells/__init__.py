"""Cells of files as values: numbers, dates and times."""
