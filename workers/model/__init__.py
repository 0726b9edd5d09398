"""Runs and datasets as clients see them."""
