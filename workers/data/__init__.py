"""Datasets: their versions, parts, imports and exports."""
