"""Metrics of a run."""
