"""Market data from exchanges."""
